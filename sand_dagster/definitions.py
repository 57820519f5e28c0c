"""The code location: every experiment as an asset group, its job and checks, and the sensor that advances."""

import dagster as dg

from sand_dagster.assets import stages_of
from sand_dagster.assets.stage import asset_of
from sand_dagster.experiment import load_experiments
from sand_dagster.home import sand_home
from sand_dagster.jobs.checks import checks_of
from sand_dagster.jobs.iteration import advance_sensor, iteration_job
from sand_dagster.resources import resources


def _definitions() -> dg.Definitions:
    experiments = list(load_experiments(sand_home()).values())
    assets, checks, jobs = [], [], []
    for experiment in experiments:
        partitions = dg.StaticPartitionsDefinition(experiment.partitions)
        own = [asset_of(definition, experiment, partitions) for definition in stages_of(experiment)]
        assets += own
        checks += checks_of(experiment, partitions)
        jobs.append(iteration_job(experiment, own))
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=jobs,
        sensors=[advance_sensor(experiments, jobs)],
        resources=resources(),
        executor=dg.in_process_executor,
    )


defs = _definitions()
