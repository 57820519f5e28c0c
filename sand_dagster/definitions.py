"""The code location: experiments as asset groups, their jobs and checks, and the sensors."""

import logging
import os
from collections.abc import Iterable, Mapping

import dagster as dg

from sand_dagster.assets import stages_of
from sand_dagster.assets.asset import asset_of
from sand_dagster.assets.report import report_of
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import ExperimentError, load_experiments
from sand_dagster.home import sand_home
from sand_dagster.jobs.checks import checks_of
from sand_dagster.jobs.gate import before_stage
from sand_dagster.jobs.iteration import advance_sensor, iteration_job, setup_job
from sand_dagster.jobs.up_to_date import up_to_date_checks, up_to_date_sensor
from sand_dagster.jobs.waiting import sleep_while_waiting
from sand_dagster.resources import resources

SHOWN = "SAND_EXPERIMENTS"
"""Environment variable: more experiments to show than those in use, separated by commas; or `all`."""

_DEFAULT = "household"
_ALL = "all"
_log = logging.getLogger(__name__)


def definitions(
    also: Iterable[str] = (), with_resources: Mapping[str, object] | None = None
) -> dg.Definitions:
    """What Dagster shows: the experiments that are in use, and those that are requested.

    In use are the default one, the user's own, and those that have tables in `$SAND_HOME`. The project ships
    many more, which would hide these. Requested are the experiments in `also` and in $SAND_EXPERIMENTS.
    """
    sleep_while_waiting()
    home = sand_home()
    experiments, errors = load_experiments(home)
    asked = {*also, *filter(None, os.environ.get(SHOWN, "").replace(" ", "").split(","))}
    shown = {
        name
        for name in experiments
        if asked & {name, _ALL}
        or name == _DEFAULT
        or (home / name).is_dir()
        or (home / "experiments" / f"{name}.yaml").is_file()
    }
    # A control cannot be made without the experiment that sets its token count.
    shown |= {control for name in shown if (control := experiments[name].control_for)}
    chosen = [experiment for name, experiment in experiments.items() if name in shown]
    parts, jobs = [], []
    for experiment in chosen:
        partitions = dg.StaticPartitionsDefinition(experiment.partitions)
        stages = [
            (stage, asset_of(stage, experiment, partitions, before_stage)) for stage in stages_of(experiment)
        ]
        look = up_to_date_checks(experiment)
        once = [asset for stage, asset in stages if not stage.partitioned]
        report = report_of(experiment, partitions)
        iterated = [asset for stage, asset in stages if stage.partitioned]
        jobs.append(iteration_job(experiment, [*iterated, report], look))
        parts.append(
            dg.Definitions(
                assets=[*(asset for _, asset in stages), report],
                asset_checks=[*checks_of(experiment), look],
                jobs=[setup_job(experiment, once, look)],
            )
        )
    hidden = [experiment for name, experiment in experiments.items() if name not in shown]
    every = dg.Definitions(
        assets=[*(_unusable(name, error) for name, error in errors.items()), *_more(hidden)],
        jobs=jobs,
        sensors=[advance_sensor(chosen, jobs), up_to_date_sensor([each.name for each in chosen])],
        resources=resources() if with_resources is None else with_resources,
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(*parts, every)


def _unusable(name: str, error: ExperimentError) -> dg.AssetSpec:
    """What the UI shows for an experiment whose file is wrong: the reason, in the place of its assets."""
    _log.error("experiment %s is left out: %s", name, error)
    return dg.AssetSpec(
        [name.replace(" ", "_")],
        group_name="experiments_with_errors",
        description=f"{error}\n\nCorrect the file and reload the definitions.",
        kinds={"yaml"},
    )


def _more(hidden: Iterable[Experiment]) -> list[dg.AssetSpec]:
    """What the UI says about the experiments that it does not show."""
    listed = "\n".join(f"- `{each.name}`: {each.description}" for each in hidden)
    if not listed:
        return []
    return [
        dg.AssetSpec(
            ["more_experiments"],
            group_name="more_experiments",
            description="These experiments also ship with the project. One is shown here as soon as it has "
            "tables (`sand run NAME --until 00`), if a file of yours extends it, or if "
            f"`{SHOWN}` names it (`{SHOWN}=NAME make dev`; `{_ALL}` shows every one).\n\n{listed}",
            kinds={"yaml"},
        )
    ]


defs = definitions()
