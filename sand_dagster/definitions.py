"""The code location: experiments as asset groups, their jobs and checks, the sensor that advances."""

import logging

import dagster as dg

from sand_dagster.assets import stages_of
from sand_dagster.assets.asset import asset_of
from sand_dagster.experiments.loading import ExperimentError, load_experiments
from sand_dagster.home import sand_home
from sand_dagster.jobs.checks import checks_of
from sand_dagster.jobs.iteration import advance_sensor, iteration_job, setup_job
from sand_dagster.resources import resources

_log = logging.getLogger(__name__)


def _definitions() -> dg.Definitions:
    experiments, errors = load_experiments(sand_home())
    parts, jobs = [], []
    for experiment in experiments.values():
        partitions = dg.StaticPartitionsDefinition(experiment.partitions)
        stages = [(stage, asset_of(stage, experiment, partitions)) for stage in stages_of(experiment)]
        jobs.append(iteration_job(experiment, [asset for stage, asset in stages if stage.partitioned]))
        parts.append(
            dg.Definitions(
                assets=[asset for _, asset in stages],
                asset_checks=checks_of(experiment, partitions),
                jobs=[setup_job(experiment, [asset for stage, asset in stages if not stage.partitioned])],
            )
        )
    every = dg.Definitions(
        assets=[_unusable(name, error) for name, error in errors.items()],
        jobs=jobs,
        sensors=[advance_sensor(list(experiments.values()), jobs)],
        resources=resources(),
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(*parts, every)


def _unusable(name: str, error: ExperimentError) -> dg.AssetSpec:
    """What the UI shows of an experiment whose file is wrong: the reason, where its assets would stand."""
    _log.error("experiment %s is left out: %s", name, error)
    return dg.AssetSpec(
        [name.replace(" ", "_")],
        group_name="experiments_with_errors",
        description=f"{error}\n\nMend the file and reload the definitions.",
        kinds={"yaml"},
    )


defs = _definitions()
