"""Experiments: which there are, running one, and what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sand_dagster.cli.arguments import AsJson, ExperimentName, iteration_key, store_of
from sand_dagster.cli.errors import command, fail
from sand_dagster.cli.output import SCORE_COLUMNS, console, print_json, print_table, score_cells
from sand_dagster.home import sand_home

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
    "tokens_per_task",
    "steps_per_task",
    "invalid_rate",
    "unparsed_rate",
)


@command
def experiments(as_json: AsJson = False) -> None:
    """List the experiments: those that ship with the project, and yours in $SAND_HOME/experiments."""
    from sand_dagster.artifacts.store import ArtifactStore
    from sand_dagster.experiment import load_experiments

    home = sand_home()
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
        for name, experiment in load_experiments(home).items()
    ]
    if as_json:
        return print_json(listed)
    columns = ("experiment", "environment", "model", "variant", "iterations", "scored", "description")
    rows = [[_cell(row[column]) for column in columns] for row in listed]
    print_table(f"Experiments ({home})", columns, rows)


@command
def run(
    experiment: ExperimentName,
    until: Annotated[str, typer.Option(metavar="KK", help="The last iteration to run, such as 01.")],
) -> None:
    """Run an experiment through Dagster until iteration KK. What is complete is kept, and said."""
    last = iteration_key(until)
    from sand_dagster.definitions import defs
    from sand_dagster.jobs.run import RunFailed, run_experiment

    try:
        run_experiment(defs, experiment, last, console())
    except RunFailed as error:
        fail(str(error))
    _print_scores(experiment, _scores(store_of(experiment)))
    console().print(
        f"Read what the agent learns from:  sand show {experiment} deliberation_trajectories {last}\n"
        f"Ask where a row came from:        sand lineage {experiment} ID\n"
        "See it all in Dagster's UI:       make dev"
    )


@command
def scores(experiment: ExperimentName, as_json: AsJson = False) -> None:
    """Print the scores of every iteration that was evaluated, with 95 % intervals."""
    listed = _scores(store_of(experiment))
    if not listed:
        fail(f"experiment {experiment} has no scores yet; `sand run {experiment} --until 01` makes them")
    if as_json:
        return print_json(listed)
    _print_scores(experiment, listed)


def _scores(store: ArtifactStore) -> list[dict[str, Any]]:
    """The rows of `eval_scores` of all complete iterations, without their ids."""
    return [
        {"iteration": iteration, **{name: row[name] for name in _SCORES}}
        for iteration in store.iterations("eval_scores")
        for row in store.read("eval_scores", iteration).iter_rows(named=True)
    ]


def _print_scores(experiment: str, listed: list[dict[str, Any]]) -> None:
    columns = (
        "iteration",
        "split",
        *SCORE_COLUMNS,
        "steps/task",
        "invalid",
    )
    rows = [
        [
            row["iteration"],
            row["split"],
            *score_cells(row),
            f"{row['steps_per_task']:.1f}",
            f"{row['invalid_rate']:.1%}",
        ]
        for row in listed
    ]
    protocols = ", ".join(sorted({row["protocol"] for row in listed}))
    print_table(f"Scores of {experiment} (protocol: {protocols})", columns, rows, right=2)


def _cell(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
