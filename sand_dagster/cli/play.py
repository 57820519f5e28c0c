"""Playing: a person at the keyboard, and recorded trajectories replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sand_dagster.cli.arguments import AsJson
from sand_dagster.cli.errors import FAILED, WRONG_USE, command, fail
from sand_dagster.cli.output import print_json, print_table
from sand_dagster.cli.worlds import EnvironmentName, Games, Like, World, progress, world
from sand_dagster.home import sand_home
from sand_dagster.recordings.recording import INSTRUCTION, Recordings
from sand_dagster.rows.experts import ImportRow
from sand_dagster.verdicts import Verdict


@command
def play(
    environment: EnvironmentName = None,
    task: Annotated[str, typer.Option(help="A task's id, or a part of it that no other task has.")] = "",
    experiment: Like = None,
    games: Games = None,
) -> None:
    """Play a task at the keyboard, in the same environment and with the same texts as the agent."""
    from sand_dagster.environments.keyboard import find_task
    from sand_dagster.environments.keyboard import play as play_task

    if environment is not None and experiment is not None:
        fail("--environment and --experiment exclude each other", WRONG_USE)
    if environment is None and experiment is None:
        experiment = "household"
    here, home = world(environment, experiment, games), sand_home()
    try:
        with progress("listing the tasks") as report_progress:
            tasks = here.kind.tasks(here.options, home, report_progress)
        chosen = find_task(tasks, task)
    except ValueError as error:
        fail(str(error))
    play_task(here.kind.make(here.options, home), here.kind.DOMAIN, chosen, write=typer.echo)


@command
def replay(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Trajectories in ETO's format (JSON), JSON lines with `messages`, or a data set's folder; "
            "or a table of an experiment: the data.parquet of expert_data, expert_trajectories, "
            "deliberation_trajectories, rollouts or eval_episodes.",
        ),
    ],
    environment: EnvironmentName = None,
    experiment: Like = None,
    games: Games = None,
    as_json: AsJson = False,
) -> None:
    """Replay recorded trajectories against the games: the verdict and the first difference of each.

    A file that names ALFWorld's games is replayed in ALFWorld, another file in ScienceWorld, unless
    --environment or --experiment is given. A table is replayed in its experiment's environment.
    The exit code is 1 if a text differs, or a row cannot be read or played.
    """
    from sand_dagster.environments.replay import replay_all
    from sand_dagster.rows.plain import plain

    if environment is not None and experiment is not None:
        fail("--environment and --experiment exclude each other", WRONG_USE)
    if not file.exists():
        fail(f"there is no file {file}")
    home = sand_home()
    try:
        if file.suffix == ".parquet":
            here, home, recordings = _ours(file, experiment)
        else:
            here, recordings = _published(file, environment, experiment, games)
        make = partial(here.kind.make, here.options, home)
        rows = replay_all(make, recordings.rows, here.kind.DOMAIN.refusal, recordings.keep)
        replayed = _print_replays(rows, as_json)
    except ValueError as error:
        fail(str(error))
    counts = Counter(row.verdict for row in replayed)
    failing = sum(_fails(row) for row in replayed)
    matching = sum(row.reward is not None and not _fails(row) for row in replayed)
    won = sum(_won(row) for row in replayed)
    if as_json:
        print_json(
            {
                "trajectories": len(replayed),
                "matching": matching,
                "failing": failing,
                "won": won,
                "verdicts": dict(counts),
                "replayed": [{**plain(row), "steps": len(row.steps)} for row in replayed],
            }
        )
    else:
        shown = [[verdict.value, str(counts[verdict])] for verdict in Verdict if counts[verdict]]
        print_table(f"{file.name}: {len(replayed)} trajectories", ("verdict", "trajectories"), shown)
        typer.echo(
            f"{matching} of {len(replayed)} trajectories match, {won} win, "
            f"{failing} differ or cannot be replayed"
        )
    if failing or not replayed:
        raise typer.Exit(FAILED)


def _ours(file: Path, experiment: str | None) -> tuple[World, Path, Recordings]:
    """The trajectories of a table of an experiment, and the home with its games."""
    from sand_dagster.artifacts.recorded import locate_partition, recorded
    from sand_dagster.environments.replay import as_recordings
    from sand_dagster.experiments.loading import load_experiment

    store, table, iteration = locate_partition(file)
    section = load_experiment(experiment or store.experiment, store.home).environment
    found = as_recordings(recorded(store, table, iteration))
    return World(section.module, section.options), store.home, Recordings(str(file), found, "all")


def _published(
    file: Path, environment: str | None, experiment: str | None, games: Path | None
) -> tuple[World, Recordings]:
    """The rows of a file in ETO's format, or one like it."""
    from sand_dagster.environments.replay import read_file
    from sand_dagster.recordings.eto import Record, read_records

    if environment is None and experiment is None:
        names_games = any(isinstance(each, Record) and each.game for each in read_records(file))
        environment = "alfworld" if names_games else "scienceworld"
    here = world(environment, experiment, games)
    return here, read_file(file, here.kind, here.options, sand_home())


def _print_replays(replayed: Iterable[ImportRow], as_json: bool) -> list[ImportRow]:
    """Every replay, printed when it ends."""
    done = []
    for row in replayed:
        done.append(row)
        if not as_json:
            typer.echo(_line(row))
    return done


def _fails(row: ImportRow) -> bool:
    """Whether it does not replay: a text differs, or it could not be played at all."""
    broken = row.verdict in (Verdict.MALFORMED, Verdict.ENVIRONMENT_ERROR)
    return broken or row.differs_at is not None


def _won(row: ImportRow) -> bool:
    return row.reward is not None and row.reward >= 1.0 - 1e-6


def _line(row: ImportRow) -> str:
    what = row.task_id or row.record_id
    head = f"{row.verdict:17}  row {row.row}{f', {what}' if what else ''}"
    if row.reward is None:
        return f"{head}: {row.problem}"
    line = f"{head}: {len(row.steps)} steps, reward {row.reward:.2f}"
    if row.recorded_steps > len(row.steps):
        line += f", {row.recorded_steps - len(row.steps)} steps after the end"
    if row.refused_at is not None:
        line += f", step {row.refused_at} {row.steps[row.refused_at].action!r} refused"
    if row.differs_at is None:
        return line
    where = "the instruction" if row.differs_at == INSTRUCTION else f"step {row.differs_at}"
    return (
        f"{line}; differs first at {where} {row.action!r}\n"
        f"  recorded: {row.expected!r}\n  found:    {row.found!r}"
    )
