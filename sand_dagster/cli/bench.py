"""`sand bench`: measurements of the project's speed and correctness."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer
from rich.console import RenderableType
from rich.text import Text

from sand_dagster.cli.arguments import AsJson, ExperimentName, iteration_key
from sand_dagster.cli.errors import FAILED, WRONG_USE, command, command_that_keeps, fail
from sand_dagster.cli.output import console, print_json
from sand_dagster.cli.worlds import Games, progress, published_games

Out = Annotated[
    Path | None,
    typer.Option(
        dir_okay=False,
        help="Also write the figures to this file, as JSON with command, day, machine and versions.",
    ),
]

measurement = command_that_keeps("No figures were written, and a file of --out is as it was: measure again.")

bench = typer.Typer(name="bench", help="Measure speed and correctness on this machine.", no_args_is_help=True)


class _Report(Protocol):
    """The interface of every measurement's result."""

    def to_json(self) -> dict[str, Any]: ...

    def render(self) -> RenderableType: ...


@bench.command()
@measurement
def environments(
    environment: Annotated[
        Literal["alfworld", "scienceworld"], typer.Option(help="Which engine to compare.")
    ] = "alfworld",
    games: Games = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="How many games, or for ScienceWorld task types. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the games and the random walks.")] = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Compare our engines with the stock ones, text for text, and time both.

    The exit code is 1 if they differ.
    """
    machine = _machine(out)
    if environment == "alfworld":
        from alfworld_compiled.bench.engines import run

        with _plain_problems(), progress("comparing games") as report_progress:
            played = run(games or published_games(), limit, seed, report_progress)
        differs = played.differences > 0 or not played.throughput.same_episodes
        _print_report(played, differs=differs, as_json=as_json, out=out, machine=machine)
    else:
        from sand_dagster.bench.scienceworld import run as run_scienceworld
        from sand_dagster.environments.scienceworld.task_types import TASK_TYPES

        with progress("comparing tasks") as report_progress:
            report = run_scienceworld(tuple(TASK_TYPES)[:limit], seed=seed, progress=report_progress)
        differs = report.differences > 0 or report.exact_forks < report.forks
        _print_report(report, differs=differs, as_json=as_json, out=out, machine=machine)


@bench.command()
@measurement
def rollouts(
    environment: Annotated[
        Literal["household", "scienceworld"], typer.Option(help="Which environment to play in.")
    ] = "household",
    count: Annotated[
        int, typer.Option("--rollouts", min=4, help="Rollouts; the slow ways play fewer of them.")
    ] = 512,
    max_concurrency: Annotated[int, typer.Option(min=1, help="Rollouts at once, in our way.")] = 64,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Play the same rollouts one by one, in processes, in lockstep, and in our way, and time each.

    The exit code is 1 if the rewards differ.
    """
    from sand_dagster.bench.rollouts import run

    machine = _machine(out)
    with _plain_problems(), progress("measuring") as report_progress:
        report = run(environment, count, max_concurrency, report_progress)
    _print_report(report, differs=bool(report.differences), as_json=as_json, out=out, machine=machine)


@bench.command()
@measurement
def generation(
    name: Annotated[str, typer.Option("--experiment", help="Whose iteration 01 is run again.")] = "household",
    tasks: Annotated[int, typer.Option(min=1, help="Demonstrations that the flat stages read.")] = 16,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure the pipeline's cost: flat stages against vLLM alone, an iteration with all units journalled."""
    from sand_dagster.bench.generation import run
    from sand_dagster.experiments.loading import load_experiment
    from sand_dagster.home import sand_home

    machine = _machine(out)
    with _plain_problems(), progress("measuring") as report_progress:
        report = run(tasks, load_experiment(name, sand_home()), sand_home(), report_progress)
    _print_report(report, differs=report.differing > 0, as_json=as_json, out=out, machine=machine)


@bench.command()
@measurement
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

    machine = _machine(out)
    with _plain_problems(), progress("replaying") as report_progress:
        found = measure(
            sand_home(), load_experiment(name, sand_home()), iteration_key(iteration), report_progress
        )
    _print_report(found, differs=False, as_json=as_json, out=out, machine=machine)


@bench.command()
@measurement
def faults(
    injections: Annotated[int, typer.Option(min=0, help="Faults with a scripted model and trainer.")] = 300,
    real: Annotated[int, typer.Option(min=0, help="More faults with vLLM and TRL; each takes minutes.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed for the place and time of each fault.")] = 0,
    only: Annotated[
        list[str] | None, typer.Option(metavar="FAULT", help="Only faults of this kind; may be repeated.")
    ] = None,
    first: Annotated[
        int, typer.Option(min=0, help="The number of the first fault, to repeat a single one.")
    ] = 0,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Inject faults into small runs: kills, torn files, a full disk, clock jumps, wrong answers of servers.

    After each fault the experiment is run again, and has to end with the undisturbed run's hashes. The exit
    code is 1 if one did not, or if anything was left behind.
    """
    from sand_dagster.bench.faults.campaign import run

    machine = _machine(out)
    with _plain_problems(WRONG_USE), progress("injecting") as report_progress:
        campaign = run(
            injections,
            seed,
            real,
            f"{__name__}.{sand.__name__}",
            report_progress,
            only=only or (),
            first=first,
        )
    _print_report(campaign, differs=bool(campaign.failed), as_json=as_json, out=out, machine=machine)


def sand(arguments: list[str]) -> None:
    """The command `sand` in this process."""
    from sand_dagster.cli import app

    app(arguments)


@bench.command()
@measurement
def gpu(
    home: Annotated[
        Path, typer.Option(file_okay=False, help="Where everything is kept, in a folder for each check.")
    ] = Path(".gpu-check"),
    reduced: Annotated[bool, typer.Option(help="Only a few games, to test the check itself.")] = False,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Check this machine's GPUs: the loop, full and LoRA finetuning, seeds, memory, tokens a second.

    One page with verdicts. The exit code is 1 if a part failed. Without a GPU it runs on the CPU.
    """
    from sand_dagster.bench.gpu_check import run

    machine = _machine(out)
    with progress("checking") as report_progress:
        report = run(home.absolute(), report_progress, reduced=reduced)
    _print_report(report, differs=report.failed, as_json=as_json, out=out, machine=machine)


@bench.command()
@measurement
def lineage(
    rows: Annotated[int, typer.Option(min=1000, help="About how many rows to generate.")] = 10_000_000,
    folder: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Where to generate them. Default: a folder that is removed afterwards."
        ),
    ] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Trace rows and answer questions over many rows, and measure the time and memory of each.

    The exit code is 1 if one takes more than its target: 2 s for a trace, 5 s for an aggregate, 2 GB.
    """
    from tempfile import TemporaryDirectory

    from sand_dagster.bench.lineage import run

    machine = _machine(out)
    with TemporaryDirectory(prefix="sand-lineage-") as below, progress("generating") as report_progress:
        report = run(rows, folder or Path(below), report_progress)
    _print_report(report, differs=not report.met, as_json=as_json, out=out, machine=machine)


@bench.command("scienceworld-start")
@measurement
def scienceworld_start(
    task_type: Annotated[
        list[str] | None, typer.Option("--type", help="A task type; can be repeated. Default: all.")
    ] = None,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Count the containers that are open when ScienceWorld's tasks start, with our simplifications."""
    from sand_dagster.bench.scienceworld_start import starts
    from sand_dagster.environments.scienceworld.task_types import TASK_TYPES

    machine = _machine(out)
    if unknown := [name for name in task_type or () if name not in TASK_TYPES]:
        fail(f"there is no task type {', '.join(unknown)}; there are: {', '.join(TASK_TYPES)}", WRONG_USE)
    with progress("task types") as report_progress:
        report = starts(task_type or tuple(TASK_TYPES), report_progress)
    _print_report(report, differs=False, as_json=as_json, out=out, machine=machine)


@bench.command()
@measurement
def orchestration(
    name: Annotated[str, typer.Option("--experiment", help="Whose iteration 01 is run again.")] = "household",
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure the cost of orchestration: run an iteration again with all its units in the journal."""
    from sand_dagster.bench.orchestration import measure_orchestration
    from sand_dagster.experiments.loading import load_experiment
    from sand_dagster.home import sand_home

    machine = _machine(out)
    with _plain_problems():
        found = measure_orchestration(sand_home(), load_experiment(name, sand_home()))
    _print_report(found, differs=False, as_json=as_json, out=out, machine=machine)


@bench.command()
@measurement
def scores(name: ExperimentName, as_json: AsJson = False, out: Out = None) -> None:
    """Record the scores of a finished experiment, what its stages made, and how long its iterations took."""
    from sand_dagster.bench.scores import collect
    from sand_dagster.experiments.loading import load_experiment
    from sand_dagster.home import sand_home

    # The load now is not that of the experiment's run.
    machine = {key: value for key, value in _machine(out).items() if key != "load"}
    with _plain_problems():
        found = collect(sand_home(), load_experiment(name, sand_home()))
    _print_report(found, differs=False, as_json=as_json, out=out, machine=machine)


@bench.command()
@command
def render(
    folder: Annotated[
        Path, typer.Argument(file_okay=False, help="The measurements, with the page's template.")
    ] = Path("benchmarks"),
    page: Annotated[Path, typer.Option(dir_okay=False, help="The page to write.")] = Path(
        "docs/measurements.md"
    ),
) -> None:
    """Write the page of measurements from the files that `--out` wrote."""
    from sand_dagster.bench.page import render_page
    from sand_dagster.files import write_text

    try:
        write_text(page, render_page(folder))
    except (ValueError, OSError) as error:
        fail(str(error))
    console().print(f"{page} is written from {folder}")


@contextmanager
def _plain_problems(code: int = FAILED) -> Iterator[None]:
    """Report what a measurement cannot work with as a message, with the exit code `code`."""
    try:
        yield
    except ValueError as error:
        fail(str(error), code)


def _machine(out: Path | None) -> dict[str, str]:
    """The machine before a measurement loads it; nothing if no file is requested."""
    from sand_dagster.bench.record import describe_machine

    return {} if out is None else describe_machine()


def _print_report(
    report: _Report, *, differs: bool, as_json: bool, out: Path | None, machine: Mapping[str, str]
) -> None:
    if as_json:
        print_json(report.to_json())
    else:
        shown = report.render()
        console().print(Text(shown) if isinstance(shown, str) else shown)
    if out is not None:
        from sand_dagster.bench.record import measured, write

        write(measured(sys.argv[1:], machine, report.to_json()), out)
    if differs:
        raise typer.Exit(FAILED)
