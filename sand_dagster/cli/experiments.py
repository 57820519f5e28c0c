"""Experiments: listing them, running one, and its scores."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from sand_dagster.cli.arguments import (
    AsJson,
    ExperimentName,
    Seeds,
    iteration_key,
    planned,
    store_of,
    with_seeds,
)
from sand_dagster.cli.errors import command, fail
from sand_dagster.cli.output import SCORE_COLUMNS, console, print_json, print_table, score_cells
from sand_dagster.home import sand_home
from sand_dagster.reports.places import PAGE, report_folder

if TYPE_CHECKING:
    from sand_dagster.artifacts.store import ArtifactStore

_SCORES = (
    "split",
    "protocol",
    "tasks",
    "average_reward",
    "reward_low",
    "reward_high",
    "success_rate",
    "deliberation_rate",
    "reward_per_step",
    "deliberation_per_step",
    "tokens_per_task",
    "steps_per_task",
    "invalid_rate",
    "unparsed_rate",
)


@command
def experiments(as_json: AsJson = False) -> None:
    """List the experiments: those that ship with the project, and yours in $SAND_HOME/experiments."""
    from sand_dagster.artifacts.store import ArtifactStore
    from sand_dagster.experiments.loading import load_experiments

    home = sand_home()
    loaded, errors = load_experiments(home)
    listed: list[dict[str, Any]] = [
        {
            "experiment": name,
            "environment": experiment.environment.kind,
            "model": experiment.model.base,
            "variant": experiment.variant,
            "iterations": experiment.iterations,
            "scored": ArtifactStore(home, name).iterations("eval_scores"),
            "description": experiment.description,
        }
        for name, experiment in loaded.items()
    ]
    if as_json:
        return print_json([*listed, *({"experiment": name, "error": str(e)} for name, e in errors.items())])
    columns = ("experiment", "environment", "model", "variant", "iterations", "scored", "description")
    rows = [[_cell(row[column]) for column in columns] for row in listed]
    print_table(f"Experiments ({home})", columns, rows)
    for error in errors.values():
        console().print(f"[red]left out:[/red] {escape(str(error))}", soft_wrap=True)


@command
def run(
    experiment: ExperimentName,
    until: Annotated[str, typer.Option(metavar="KK", help="The last iteration to run.")] = "01",
    fresh: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STAGE", help="Do this stage of iteration KK again, including its finished units."
        ),
    ] = None,
    seeds: Seeds = None,
) -> None:
    """Run an experiment through Dagster until iteration KK. Complete stages are kept and listed."""
    last = iteration_key(until)
    names = with_seeds(experiment, seeds)
    for name in names:
        _run(name, last, fresh or ())
        _print_scores(name, _scores(store_of(name)), {})
    if len(names) > 1:
        console().print(f"Take the seeds together:  sand compare {experiment} --seeds {seeds}")
    page = report_folder(sand_home(), experiment) / PAGE
    console().print(
        f"Read results and episodes:        {page if page.is_file() else f'sand report {experiment}'}\n"
        f"Read what the agent learns from:  sand show {experiment} deliberation_trajectories {last}\n"
        f"Ask where a row came from:        sand lineage trace ID --experiment {experiment}\n"
        "See it all in Dagster's UI:       make dev"
    )


def _run(experiment: str, last: str, fresh: Sequence[str]) -> None:
    from sand_dagster.jobs.interrupts import Interrupted, Interrupts

    with Interrupts() as interrupts:
        try:
            from sand_dagster.definitions import definitions
            from sand_dagster.jobs.run import RunFailed, run_experiment

            _say_what_fits(experiment, last)
            try:
                made = definitions([experiment])
                run_experiment(made, experiment, last, console(), fresh, interrupts)
            except RunFailed as error:
                fail(str(error))
            except Interrupted as error:
                fail(str(error), error.code)
        except KeyboardInterrupt:
            number = interrupts.received() or signal.SIGINT
            fail(f"interrupted by {number.name} before anything was started.", 128 + number)


def _say_what_fits(name: str, until: str) -> None:
    """How generation and training use this machine's GPUs; ends the command if one that is here does not
    fit."""
    from sand_dagster.models.cards import cards

    if not cards():
        return
    from sand_dagster.estimate.hardware import hardware
    from sand_dagster.estimate.stages import estimate
    from sand_dagster.experiments.loading import load_experiment
    from sand_dagster.jobs.run import check_iteration
    from sand_dagster.resources import configured
    from sand_dagster.resources.model_server import ModelServer
    from sand_dagster.resources.training import Training

    experiment = load_experiment(name, sand_home())
    check_iteration(experiment, until)
    try:
        found = estimate(experiment, hardware("this"), until, sand_home())
    except (
        ValueError
    ) as error:  # the model is not downloaded yet: the plan is printed again before each start
        console().print(escape(str(error)))
        return
    endpoints = experiment.generation
    served = configured(ModelServer).model_server == "static" or (endpoints.base and endpoints.policy)
    trained = configured(Training).training_on != "here"

    def here(parts: Mapping[str, str]) -> list[str]:
        return [
            f"{part}: {text}"
            for part, text in parts.items()
            if not (served if part == "generation" else trained)
        ]

    for line in here(found.plans):
        console().print(escape(line), soft_wrap=True)
    if refused := here(found.refusals):
        fail("\n".join(refused))


@command
def scores(experiment: ExperimentName, as_json: AsJson = False) -> None:
    """Print the scores of every iteration that was evaluated, with 95 % intervals.

    If the experiment is an unchanged one of the paper, the paper's average rewards are printed beside it.
    Below it stands what ScienceWorld's tasks are played with.
    """
    from sand_dagster.evaluation.played_with import stored_played_with
    from sand_dagster.jobs.plan import stale_scores

    store = store_of(experiment)
    listed = _scores(store)
    if not listed:
        fail(f"experiment {experiment} has no scores yet; `sand run {experiment} --until 01` makes them")
    stale = stale_scores(planned(store, listed[-1]["iteration"]))
    played = stored_played_with(store)
    if as_json:
        return print_json(
            [{**row, "stale": stale.get(row["iteration"]), "played_with": played or None} for row in listed]
        )
    _print_scores(experiment, listed, stale)
    if played:
        console().print(f"played with {escape(played)}", soft_wrap=True)


@command
def plan(
    experiment: ExperimentName,
    until: Annotated[str, typer.Option(metavar="KK", help="The last iteration to plan, such as 01.")],
    as_json: AsJson = False,
) -> None:
    """Print what `sand run` would do until iteration KK, and why. Nothing is changed or started.

    Units: how many are in the journal, and how many are to do. No number if their inputs have to be made
        first.
    """
    from sand_dagster.experiments.loading import load_experiment
    from sand_dagster.jobs.plan import few
    from sand_dagster.jobs.run import check_iteration

    last = iteration_key(until)
    check_iteration(load_experiment(experiment, sand_home()), last)
    listed = planned(store_of(experiment), last, counted=True)
    if as_json:
        return print_json([{**asdict(each), "complete": each.complete} for each in listed])
    rows = [
        [
            each.iteration or "",
            each.stage,
            "complete" if each.complete else "to run",
            few(each.reasons),
            "" if each.journalled is None else str(each.journalled),
            "" if each.to_do is None else str(each.to_do),
        ]
        for each in listed
    ]
    columns = ("iteration", "stage", "state", "why", "units journalled", "units to do")
    print_table(f"Plan of {experiment} until iteration {last}", columns, rows)


def _scores(store: ArtifactStore) -> list[dict[str, Any]]:
    """The rows of `eval_scores` of all complete iterations, without their ids, and the paper's rewards."""
    from sand_dagster.evaluation.published import published_reward
    from sand_dagster.experiments.loading import ExperimentError, load_experiment

    try:
        experiment = load_experiment(store.experiment, store.home)
    except ExperimentError:  # its tables can still be read, but it is not known whether it is the paper's
        experiment = None
    return [
        {
            "iteration": iteration,
            **{name: row[name] for name in _SCORES},
            "published_reward": experiment
            and published_reward(experiment, iteration, row["split"], row["tasks"], store.home),
        }
        for iteration in store.iterations("eval_scores")
        for row in store.read("eval_scores", iteration).iter_rows(named=True)
    ]


def _print_scores(experiment: str, listed: list[dict[str, Any]], stale: Mapping[str, str]) -> None:
    published = any(row["published_reward"] is not None for row in listed)
    columns = (
        "iteration",
        "split",
        *(["the paper's"] if published else []),
        *SCORE_COLUMNS,
        "steps/task",
        "reward/step",
        "deliberations/step",
        "invalid",
    )
    rows = [
        [
            row["iteration"],
            row["split"],
            *([_percent(row["published_reward"])] if published else []),
            *score_cells(row),
            f"{row['steps_per_task']:.1f}",
            f"{row['reward_per_step']:.3f}",
            f"{row['deliberation_per_step']:.3f}",
            f"{row['invalid_rate']:.1%}",
        ]
        for row in listed
    ]
    protocols = ", ".join(sorted({row["protocol"] for row in listed}))
    print_table(f"Scores of {experiment} (protocol: {protocols})", columns, rows, right=2)
    for iteration, why in stale.items():
        console().print(f"[yellow]stale:[/yellow] iteration {iteration}: {escape(why)}", soft_wrap=True)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _cell(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
