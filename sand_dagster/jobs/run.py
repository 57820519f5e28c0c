"""`sand run`: the iterations of an experiment one after another, from wherever they stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from rich.console import Console

from sand_dagster.artifacts.errors import TornArtifact
from sand_dagster.artifacts.manifest import plain
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets import stages_of
from sand_dagster.assets.progress import listening
from sand_dagster.assets.stage import StageDefinition
from sand_dagster.experiment import Experiment, ExperimentError, load_experiment
from sand_dagster.generation.model_folder import model_id
from sand_dagster.home import sand_home
from sand_dagster.jobs.console import Narrator
from sand_dagster.jobs.instance import PROCESS, end_killed_runs, opened, this_process
from sand_dagster.sand.identity import digest

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailed(Exception):
    """A stage failed; the message says which, why, and how to go on."""


def run_experiment(defs: dg.Definitions, name: str, until: str, console: Console | None = None) -> None:
    """Materialise what is not complete of iterations 00 to `until` of the experiment `name` in `defs`.

    One Dagster run an iteration, in this process, so that its stages share engines. A partition is complete
    when its manifest was made from the inputs that are there now, with the configuration that holds now.

    Raises:
        ExperimentError: there is no such experiment, or no such iteration in it.
        RunFailed: a stage failed. What it had finished is kept.
    """
    home, console = sand_home(), console or Console()
    experiment = load_experiment(name, home)
    if until not in experiment.partitions:
        raise ExperimentError(
            f"{name} has the iterations {', '.join(experiment.partitions)}; {until!r} is none of them. "
            "Their number is `iterations` in the experiment's file"
        )
    job = defs.resolve_job_def(experiment.group)
    with opened(home) as instance:
        for run_id in end_killed_runs(instance):
            console.print(f"Run {run_id[:8]} had been killed; going on from what it finished.")
        for iteration in experiment.partitions[: experiment.partitions.index(until) + 1]:
            _run_iteration(experiment, iteration, until, job, instance, home, console)


def _run_iteration(
    experiment: Experiment,
    iteration: str,
    until: str,
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    home: Path,
    console: Console,
) -> None:
    store = ArtifactStore(home, experiment.name)
    pending = pending_stages(experiment, store, instance, iteration)
    if not pending:
        console.print(f"Iteration {iteration} of {experiment.name} is complete.")
        return
    done = len(stages_of(experiment)) - len(pending)
    console.print(
        f"Iteration {iteration} of {experiment.name}: {', '.join(pending)}"
        + (f" ({done} stages are complete)" if done else "")
    )
    with Narrator(console) as narrator, listening(narrator.hear):
        result = job.execute_in_process(
            run_config=_QUIET,
            instance=instance,
            partition_key=iteration,
            asset_selection=[dg.AssetKey([experiment.name, stage]) for stage in pending],
            tags={PROCESS: this_process()},
            raise_on_error=False,
        )
    for evaluation in result.get_asset_check_evaluations():
        if not evaluation.passed:
            console.print(
                f"[yellow]Check {evaluation.asset_key.path[-1]}.{evaluation.check_name} did not pass: "
                f"{evaluation.description}[/yellow]"
            )
    if not result.success:
        raise RunFailed(_why(result, experiment, iteration, until))


def pending_stages(
    experiment: Experiment, store: ArtifactStore, instance: dg.DagsterInstance, iteration: str
) -> list[str]:
    """The stages of `iteration` that are not complete, and those that come after one of them."""
    pending: list[str] = []
    for definition in stages_of(experiment):
        after_pending = any(
            source.table in pending
            and source.partition in (iteration, None)
            and source.experiment == experiment.name
            for source in definition.sources(experiment, iteration)
        )
        if after_pending or not _complete(definition, experiment, store, instance, iteration):
            pending.append(definition.name)
    return pending


def _complete(
    definition: StageDefinition,
    experiment: Experiment,
    store: ArtifactStore,
    instance: dg.DagsterInstance,
    iteration: str,
) -> bool:
    partition = definition.partition(iteration)
    try:
        manifest = store.manifest(definition.name, partition)
        if manifest is None:
            return False
        inputs = {
            source.name: found.content_hash
            if (found := source.store(store.home).manifest(source.table, source.partition))
            else None
            for source in definition.sources(experiment, iteration)
        }
    except TornArtifact:
        return False
    if manifest.inputs != inputs or manifest.config_hash != digest(plain(definition.config(experiment))):
        return False
    if definition.name == "base_model" and not _still_there(store):
        return False
    return _recorded_version(instance, experiment, definition.name, partition) == manifest.content_hash


def _still_there(store: ArtifactStore) -> bool:
    """Whether the folder of the base model holds what it held when it was recorded."""
    recorded = store.read("base_model", None).row(0, named=True)
    folder = Path(recorded["folder"])
    return folder.is_dir() and model_id(folder) == recorded["model_id"]


def _recorded_version(
    instance: dg.DagsterInstance, experiment: Experiment, stage: str, partition: str | None
) -> str | None:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            dg.AssetKey([experiment.name, stage]), asset_partitions=[partition] if partition else None
        ),
        limit=1,
    ).records
    if not records or records[0].asset_materialization is None:
        return None
    return (records[0].asset_materialization.tags or {}).get("dagster/data_version")


def _why(result: dg.ExecuteInProcessResult, experiment: Experiment, iteration: str, until: str) -> str:
    reasons: Sequence[str] = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            failure = data.user_failure_data
            error = data.error
            cause = error.cause if error and error.cause else error
            said = failure.description if failure else f"{cause.cls_name}: {cause.message}" if cause else ""
            reasons = [*reasons, f"{event.step_key} failed: {(said or '').strip()}"]
    return "\n".join(
        [
            f"Iteration {iteration} of {experiment.name} did not finish (run {result.run_id}).",
            *reasons,
            f"What was finished is kept: `sand run {experiment.name} --until {until}` goes on from there.",
        ]
    )
