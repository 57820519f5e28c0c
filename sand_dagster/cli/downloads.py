"""`sand data`: the published data and models, where they come from and where they go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sand_dagster.cli.arguments import AsJson
from sand_dagster.cli.errors import command, command_that_keeps, fail
from sand_dagster.cli.output import print_json
from sand_dagster.downloads.sources import Subject

if TYPE_CHECKING:
    from rich.progress import Progress

    from sand_dagster.downloads.fetching import Wanted

data = typer.Typer(
    name="data",
    help="The published data and models: where they come from, and bringing them here.",
    no_args_is_help=True,
)


To = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Default: where the experiments look: ~/.cache/alfworld, ~/.cache/sand, the hub's cache.",
    ),
]
Only = Annotated[
    str, typer.Option(metavar="TEXT", help="Only files or models with this in their name, such as qwen.")
]


@data.command()
@command_that_keeps("What came is kept, also of an unfinished file: give the command again to continue.")
def download(
    subject: Annotated[
        Subject,
        typer.Argument(
            help="alfworld: the games. scienceworld: ETO's index files. webshop: 1,000 products and their "
            "instructions. eto: expert trajectories. models: the paper's two base models."
        ),
    ],
    to: To = None,
    only: Only = "",
) -> None:
    """Download published data or models, continue what was interrupted, and check what came.

    What is there already and right is left as it is. Without a network the message says which file goes
    where, and from which address.
    """
    from sand_dagster.downloads.checking import DownloadError
    from sand_dagster.downloads.fetching import fetch, settings, wanted
    from sand_dagster.downloads.http import Unreachable

    folder = to.expanduser() if to else None
    here: list[str] = []
    try:
        with _bars() as bars:
            for path, checked in fetch(subject, folder, lambda name: _bar(bars, name), only):
                here.append(f"{path}: {checked}")
    except Unreachable as error:
        places = [_by_hand(each) for each in wanted(subject, folder, only)]
        fail(
            "\n".join(
                [
                    f"{error}",
                    "With a network, elsewhere: fetch these, and put them in these places here:",
                    *places,
                ]
            )
        )
    except DownloadError as error:
        fail(str(error))
    finally:
        for line in here:
            typer.echo(line)
    if lines := settings(subject, folder, only):
        typer.echo("\n".join(["In an experiment:", *(f"  {line}" for line in lines)]))


@data.command(name="list")
@command
def list_data(to: To = None, as_json: AsJson = False) -> None:
    """List every published file and model: its address, where it goes, and whether something is there."""
    from sand_dagster.downloads.fetching import wanted

    folder = to.expanduser() if to else None
    rows: list[dict[str, Any]] = [
        {
            "subject": subject.value,
            "from": each.source.url,
            "to": str(each.path) if each.path else "the hub's cache",
            "there": each.path.exists() if each.path else None,
        }
        for subject in Subject
        for each in wanted(subject, folder)
    ]
    if as_json:
        return print_json(rows)
    for row in rows:
        there = {True: ", which is there", False: "", None: ""}[row["there"]]
        typer.echo(f"{row['subject']}: {row['from']}\n    → {row['to']}{there}")


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    to = Console(stderr=True)
    return Progress(*columns, TimeRemainingColumn(), console=to, transient=True, disable=not to.is_terminal)


def _bar(bars: Progress, name: str) -> Callable[[int, int | None], None]:
    task = bars.add_task(name, total=None)
    return lambda done, total: bars.update(task, completed=done, total=total)


def _by_hand(each: Wanted) -> str:
    from sand_dagster.downloads.sources import HubModel

    if isinstance(each.source, HubModel):
        revision = each.source.revision
        where = f" --local-dir {each.path}" if each.path else ""
        return f"  hf download {each.source.repository} --revision {revision}{where}"
    return f"  {each.source.url}\n    → {each.path}"
