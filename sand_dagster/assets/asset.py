"""The Dagster asset of a stage: reads tables, calls `sand/`, and commits one table."""

# No `from __future__ import annotations`: Dagster reads the types of an asset's function.
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets.definition import StageDefinition, Where
from sand_dagster.assets.metadata import (
    column_lineage,
    column_schema,
    describe,
    links,
    readable,
    refused_sampling,
    sampling,
    tags_of,
    work,
)
from sand_dagster.assets.openlineage import not_reported, reported
from sand_dagster.assets.progress import StageProgress, tell
from sand_dagster.assets.run import StageRun
from sand_dagster.errors import ArtifactError
from sand_dagster.execution.units import Trial
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.models.cards import cards, memory_in_use
from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.environments import EnvironmentWorkers
from sand_dagster.resources.generation import Generation
from sand_dagster.resources.loop import Loop
from sand_dagster.resources.training import Training

GPU_POOL = "gpu"

_OWNER = "team:sand"
_AT_FIRST = "what is not in the journal needs a model, which takes up to a minute to start"
BeforeStage = Callable[
    [dg.AssetExecutionContext, StageDefinition, Experiment, ArtifactStore, str | None], None
]
"""Called before a stage's work; raises `dagster.Failure` where it must not begin."""

_FRESH = {
    "fresh": dg.Field(
        bool,
        default_value=False,
        description="do all units again, those too that were finished before and are kept in the journal",
    )
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
    definition: StageDefinition,
    experiment: Experiment,
    partitions: dg.PartitionsDefinition[str],
    before: BeforeStage | None = None,
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
        description=inspect.getdoc(definition.body),
        tags=tags_of(experiment),
        kinds=set(definition.kinds),
        owners=[_OWNER],
        code_version=definition.version(experiment),
        pool=GPU_POOL if definition.gpu else None,
        # Steps run in the paper's order. So all that has no iterations is complete at nearly one moment, and
        # a backfill does not launch parts of iterations before.
        op_tags={"dagster/priority": str(-list(TABLES).index(definition.name))},
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
        if before is not None:
            before(context, definition, experiment, store, iteration)
        progress = StageProgress(definition.name, iteration, at_first=_AT_FIRST if definition.gpu else "")
        context.log.info(progress.line())
        asked = context.op_execution_context.op_config or {}
        trial = Trial(asked["limit"]) if asked.get("limit", 0) > 0 else None
        reporting = (
            reported(context, definition, experiment, store, iteration) if trial is None else not_reported()
        )
        with reporting as report, _plain_reasons(progress):
            identity = definition.identity(experiment, store.home, iteration)
            inputs = definition.inputs(experiment, store, iteration)
            report.started(inputs)
            with store.writing(
                definition.name,
                iteration,
                inputs=inputs,
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
                    context=context,
                )
                tell(progress, ended=False)
                gpus = _gpus(definition, "before")
                result = definition.body(run)
                if trial is not None:
                    context.log.info(_tried(trial, definition.name))
                    tell(progress, ended=True)
                    return
                # What a stage makes outside its table (generated games) is there only now.
                after = definition.identity(experiment, store.home, iteration) if definition.files else None
                gpus |= _gpus(definition, "after")
                counts = {**gpus, **refused_sampling(run.generated), **result.counts}
                manifest = writer.commit(result.rows, counts, after)
            report.completed(manifest)
        tell(progress, ended=True)
        units = work(result.reused, progress.total) if definition.units else {}
        context.log.info(" ".join([progress.line(), *units.values()]))
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(manifest.content_hash),
            metadata={
                **units,
                **result.metadata,
                **sampling(run.generated),
                **links(store, manifest, definition.sources(experiment, iteration), inputs),
                **describe(table, store.scan(table.name, iteration), manifest),
                **column_lineage(table, definition.sources(experiment, iteration)),
            },
        )

    return materialise


def _gpus(definition: StageDefinition, when: Literal["before", "after"]) -> dict[str, int | float]:
    """The GPUs that a stage of the pool `gpu` holds, all of this machine, and MiB in use on the fullest."""
    found = len(cards()) if definition.gpu else 0
    return {"gpus": found, f"gpu_mib_{when}": memory_in_use()} if found else {}


@contextmanager
def _plain_reasons(progress: StageProgress) -> Iterator[None]:
    """Whatever ends the stage's work is raised as what a person reads on the run's page."""
    vars(sys).pop(_TRACE_LIMIT, None)
    try:
        yield
    except ArtifactError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except (KeyboardInterrupt, DagsterExecutionInterruptedError) as interrupt:
        # Dagster shows the trace of an interrupt, as of an error. Nothing went wrong, so there is none to
        # show, until this process starts another stage.
        setattr(sys, _TRACE_LIMIT, 0)
        raise type(interrupt)(_cancelled(progress)) from None
    except dg.Failure:
        raise
    except Exception as error:
        # The reason stands first on the run's page; of other errors Dagster shows the trace before it.
        raise dg.Failure(f"{type(error).__name__}: {error}") from error


_TRACE_LIMIT = "tracebacklimit"


def _cancelled(progress: StageProgress) -> str:
    done = (
        f"{progress.done} of {progress.total} units are finished and kept" if progress.total else "cancelled"
    )
    return (
        f"Cancelled, as was asked: {progress.line()}; {done}. Re-execute the run from failure to go on from "
        "there."
    )


def _tried(trial: Trial, stage: str) -> str:
    """What a trial's units gave, as text."""
    head = (
        f"Tried {min(trial.limit, trial.total)} of {trial.total} units of {stage}. They are kept in the "
        "journal; the asset was not materialised. Run it without `limit` to finish it."
    )
    return "\n\n".join([head, *(readable(row) for row in trial.rows)])
