"""One job an experiment, one run an iteration, and the sensor that goes on to the next."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from dagster import AssetsDefinition
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from sand_dagster.experiments.experiment import Experiment

UNTIL = "sand/until"
"""Run tag: the iteration up to which the sensor goes on."""


def iteration_job_name(experiment: Experiment) -> str:
    """Of the job that runs one iteration."""
    return experiment.group


def setup_job_name(experiment: Experiment) -> str:
    """Of the job that makes what all iterations start from."""
    return f"{experiment.group}_setup"


def iteration_job(
    experiment: Experiment, assets: Sequence[AssetsDefinition], look: dg.AssetChecksDefinition
) -> UnresolvedAssetJobDefinition:
    """The job that runs one iteration of `experiment`: its partitioned assets and their checks."""
    return dg.define_asset_job(
        iteration_job_name(experiment),
        selection=_selection(assets, look),
        description=f"One iteration of {experiment.name}: choose it as the partition. Before the first one, "
        f"run {setup_job_name(experiment)} once. To go on to later iterations by itself, say until which: "
        f"`resources: loop: config: until`. {experiment.description}",
        executor_def=dg.in_process_executor,
    )


def setup_job(
    experiment: Experiment, assets: Sequence[AssetsDefinition], look: dg.AssetChecksDefinition
) -> UnresolvedAssetJobDefinition:
    """The job that makes tasks, expert data and the base model's record: all that has no iterations."""
    return dg.define_asset_job(
        setup_job_name(experiment),
        selection=_selection(assets, look),
        description=f"What all iterations of {experiment.name} start from; once is enough.",
        executor_def=dg.in_process_executor,
    )


def _selection(assets: Sequence[AssetsDefinition], look: dg.AssetChecksDefinition) -> dg.AssetSelection:
    # Whether other iterations are up to date is no business of a run; the sensor `up_to_date` looks after it.
    return dg.AssetSelection.assets(*assets) - dg.AssetSelection.checks(look)


def advance_sensor(
    experiments: Sequence[Experiment], jobs: Sequence[UnresolvedAssetJobDefinition]
) -> dg.SensorDefinition:
    """After a successful iteration, requests the next one while the run's tag `sand/until` says so."""
    by_job = {experiment.group: experiment for experiment in experiments}

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="advance",
        description="Goes on to the next iteration until the one that the launchpad's resources > loop > "
        f"until names, or the run's tag {UNTIL}.",
        monitored_jobs=list(jobs),
        request_jobs=list(jobs),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=5,
    )
    def advance(context: dg.RunStatusSensorContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        run = context.dagster_run
        until, done = _until(run), run.tags.get("dagster/partition")
        experiment = by_job.get(run.job_name)
        if experiment is None or until is None or done is None:
            yield dg.SkipReason(
                f"run {run.run_id} names no iteration to go on to, neither as `until` of the resource `loop` "
                f"nor in its tag {UNTIL}"
            )
            return
        following = f"{int(done) + 1:02}"
        if done >= until or following not in experiment.partitions:
            yield dg.SkipReason(f"{experiment.name} has reached iteration {done}")
            return
        yield dg.RunRequest(
            run_key=f"{run.run_id}-{following}",
            job_name=run.job_name,
            partition_key=following,
            # What concerns the machine goes on as it was; what was asked of one stage (`fresh`) does not.
            run_config={"resources": resources} if (resources := run.run_config.get("resources")) else {},
            tags={UNTIL: until},
        )

    return advance


def _until(run: dg.DagsterRun) -> str | None:
    """The last iteration that the run's launchpad, or its tag, asks for."""
    found: Any = run.run_config
    for name in ("resources", "loop", "config", "until"):
        found = found.get(name, {}) if isinstance(found, dict) else {}
    return str(found) if found else run.tags.get(UNTIL)
