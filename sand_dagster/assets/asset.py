"""The Dagster asset of a stage: reads tables, calls `sand/`, and commits one table."""

# No `from __future__ import annotations`: Dagster reads the types of an asset's function.
from collections.abc import Iterator

import dagster as dg

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.assets.definition import StageDefinition, Where
from sand_dagster.assets.metadata import column_schema, describe, readable
from sand_dagster.assets.progress import StageProgress, tell
from sand_dagster.assets.run import StageRun
from sand_dagster.errors import ArtifactError
from sand_dagster.execution.units import Trial
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.home import this_process
from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.environments import EnvironmentWorkers
from sand_dagster.resources.generation import Generation
from sand_dagster.resources.loop import Loop
from sand_dagster.resources.training import Training

GPU_POOL = "gpu"

PROCESS = "sand/process"
"""Run tag: the process that executes the run, as `pid:start time`. What was killed reports nothing, so this
alone tells that a run has ended."""
_OWNER = "team:sand"


_FRESH = {
    "fresh": dg.Field(bool, default_value=False, description="do the units again that the journal holds")
}
_LIMIT = {
    "limit": dg.Field(
        int,
        default_value=0,
        description="try the stage on so many units first: they are kept for the real run, the asset is not "
        "materialised; 0: all units",
    )
}
"""What can be asked of one run of a stage with units. None of it decides the rows."""


def asset_of(
    definition: StageDefinition, experiment: Experiment, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """The Dagster asset of a stage in one experiment. All tables that it reads are its dependencies.

    Dagster knows no cycles: what it reads of the iteration before is not among them, but is looked up.
    """
    table = TABLES[definition.name]
    sources = definition.sources(experiment, experiment.partitions[-1])
    config = (_FRESH if definition.counted else {}) | (_LIMIT if definition.units else {})

    @dg.asset(
        key=[experiment.name, definition.name],
        deps=[
            dg.AssetKey([source.experiment, source.table])
            for source in sources
            if source.where is not Where.PREVIOUS
        ],
        partitions_def=partitions if table.partitioned else None,
        group_name=experiment.group,
        description=definition.body.__doc__,
        kinds=set(definition.kinds),
        owners=[_OWNER],
        code_version=definition.version(experiment),
        pool=GPU_POOL if definition.gpu else None,
        metadata={"dagster/column_schema": column_schema(table), "row": table.row},
        output_required=not definition.units,
        config_schema=config,
    )
    def materialise(
        context: dg.AssetExecutionContext,
        artifacts: Artifacts,
        environments: EnvironmentWorkers,
        generation: Generation,
        training: Training,
        loop: Loop,
    ) -> Iterator[dg.MaterializeResult[None]]:
        iteration = context.partition_key if table.partitioned else None
        store = artifacts.store(experiment.name)
        progress = StageProgress(definition.name, iteration)
        asked = context.op_execution_context.op_config or {}
        if context.run.tags.get(PROCESS) != this_process():
            context.instance.add_run_tags(context.run.run_id, {PROCESS: this_process()})
        trial = Trial(asked["limit"]) if asked.get("limit", 0) > 0 else None
        try:
            identity = definition.identity(experiment, store.home, iteration)
            with store.writing(
                definition.name,
                iteration,
                inputs=definition.inputs(experiment, store, iteration),
                identity=identity,
                seed=experiment.seed,
                run_id=context.run.run_id,
                fresh=asked.get("fresh", False),
            ) as writer:
                run = StageRun(
                    experiment=experiment,
                    iteration=iteration,
                    identity=identity.key,
                    store=store,
                    journal=writer.journal,
                    writer=writer,
                    progress=progress,
                    instance=context.instance,
                    log=context.log,
                    environments=environments,
                    generation=generation,
                    training=training,
                    trial=trial,
                )
                tell(progress, ended=False)
                result = definition.body(run)
                if trial is not None:
                    context.log.info(_tried(trial, definition.name))
                    tell(progress, ended=True)
                    return
                # What a stage makes outside its table (generated games) is there only now.
                after = definition.identity(experiment, store.home, iteration) if definition.files else None
                manifest = writer.commit(result.rows, result.counts, after)
        except ArtifactError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        tell(progress, ended=True)
        context.log.info(f"{progress.line()}: {result.reused} units were taken from the journal")
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(manifest.content_hash),
            metadata={
                **describe(table, store.scan(table.name, iteration), manifest),
                **({"units_reused": result.reused} if definition.units else {}),
                **result.metadata,
            },
        )

    return materialise


def _tried(trial: Trial, stage: str) -> str:
    """What a trial's units gave, as text."""
    head = (
        f"Tried {min(trial.limit, trial.total)} of {trial.total} units of {stage}. They are kept in the "
        "journal; the asset was not materialised. Run it without `limit` to finish it."
    )
    return "\n\n".join([head, *(readable(row) for row in trial.rows)])
