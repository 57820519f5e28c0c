"""`sand bench`: measurements of what the project claims."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer
from rich.console import RenderableType

from sand_dagster.cli.arguments import AsJson, ExperimentName, iteration_key
from sand_dagster.cli.errors import FAILED, command, fail
from sand_dagster.cli.output import console, print_json
from sand_dagster.cli.worlds import Games, progress, published_games

Out = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False, help="Write the figures here as well: JSON, with the command and the day it ran."
    ),
]

bench = typer.Typer(name="bench", help="Measure what the project claims.", no_args_is_help=True)


class _Report(Protocol):
    """What every measurement gives."""

    def to_json(self) -> dict[str, Any]: ...

    def render(self) -> RenderableType: ...


@bench.command()
@command
def environments(
    environment: Annotated[
        Literal["alfworld", "scienceworld"], typer.Option(help="Which engine to compare.")
    ] = "alfworld",
    games: Games = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="How many games, or ScienceWorld's task types; all without it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the games and the random walks.")] = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Compare our engines with the stock ones, text for text, and time both.

    The exit code is 1 where they differ.
    """
    if environment == "alfworld":
        from alfworld_compiled.bench.report import run

        try:
            with progress("comparing games") as told:
                played = run(games or published_games(), limit, seed, told)
        except ValueError as error:
            fail(str(error))
        _tell(played, differs=played.differences > 0, as_json=as_json, out=out)
    else:
        from sand_dagster.bench.scienceworld import run as run_scienceworld
        from sand_dagster.environments.scienceworld.task_types import TASK_TYPES

        with progress("comparing tasks") as told:
            report = run_scienceworld(tuple(TASK_TYPES)[:limit], seed=seed, progress=told)
        differs = report.differences > 0 or report.exact_forks < report.forks
        _tell(report, differs=differs, as_json=as_json, out=out)


@bench.command()
@command
def rollouts(
    environment: Annotated[
        Literal["household", "scienceworld"], typer.Option(help="Which environment to play in.")
    ] = "household",
    count: Annotated[
        int, typer.Option("--rollouts", min=4, help="Rollouts; the slow ways play fewer of them.")
    ] = 512,
    max_concurrency: Annotated[int, typer.Option(min=1, help="Rollouts under way at once, in our way.")] = 64,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Play the same rollouts one by one, in processes, in lockstep, and our way, and time each.

    The exit code is 1 where the rewards differ.
    """
    from sand_dagster.bench.rollouts import run

    try:
        with progress("measuring") as told:
            report = run(environment, count, max_concurrency, told)
    except ValueError as error:
        fail(str(error))
    _tell(report, differs=bool(report.differences), as_json=as_json, out=out)


@bench.command()
@command
def generation(
    name: Annotated[str, typer.Option("--experiment", help="Whose iteration 01 is run again.")] = "household",
    tasks: Annotated[int, typer.Option(min=1, help="Demonstrations that the flat stages go over.")] = 16,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Compare the flat stages with vLLM alone, and an iteration with itself when all of it is journalled."""
    from sand_dagster.bench.generation import run
    from sand_dagster.experiments.loading import load_experiment
    from sand_dagster.home import sand_home

    try:
        with progress("measuring") as told:
            report = run(tasks, load_experiment(name, sand_home()), sand_home(), told)
    except ValueError as error:
        fail(str(error))
    _tell(report, differs=report.differing > 0, as_json=as_json, out=out)


@bench.command()
@command
def links(
    name: ExperimentName,
    iteration: Annotated[str, typer.Option(metavar="KK", help="Which iteration.")] = "01",
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure each link of a household experiment's chain, from samples to the finetuned agent's turns."""
    from sand_dagster.bench.links import measure
    from sand_dagster.experiments.loading import load_experiment
    from sand_dagster.home import sand_home

    try:
        with progress("replaying") as told:
            found = measure(sand_home(), load_experiment(name, sand_home()), iteration_key(iteration), told)
    except ValueError as error:
        fail(str(error))
    _tell(found, differs=False, as_json=as_json, out=out)


@bench.command()
@command
def gpu(
    home: Annotated[
        Path, typer.Option(file_okay=False, help="Where everything is kept, in a folder for each check.")
    ] = Path(".gpu-check"),
    reduced: Annotated[bool, typer.Option(help="A few games only: tries the check itself.")] = False,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Check this machine's GPUs: the loop, full and LoRA finetuning, seeds, memory, tokens a second.

    One page with verdicts. The exit code is 1 where a part failed. Without a GPU it runs on the CPU.
    """
    from sand_dagster.bench.gpu_check import run

    with progress("checking") as told:
        report = run(home.absolute(), told, reduced=reduced)
    _tell(report, differs=report.failed, as_json=as_json, out=out)


def _tell(report: _Report, *, differs: bool, as_json: bool, out: Path | None) -> None:
    if as_json:
        print_json(report.to_json())
    else:
        console().print(report.render())
    if out is not None:
        ran = {"command": shlex.join(["sand", *sys.argv[1:]]), "date": date.today().isoformat()}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({**ran, "report": report.to_json()}, indent=2, default=str) + "\n")
    if differs:
        raise typer.Exit(FAILED)
