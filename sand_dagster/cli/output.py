"""Printing: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_PIPE_WIDTH, _RULE_WIDTH = 200, 100


def print_json(value: object) -> None:
    """`value` as indented JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def console() -> Console:
    """Standard output for people. If it is a file or a pipe, nothing is cut to 80 columns."""
    from rich.console import Console

    to = Console(highlight=False, emoji=False)
    return to if to.is_terminal else Console(highlight=False, emoji=False, width=_PIPE_WIDTH)


def print_heading(text: str) -> None:
    """A line between one row's text and the next."""
    to = console()
    to.print(f"── {text} ".ljust(min(to.width, _RULE_WIDTH), "─"), style="dim", markup=False)


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: int = 99
) -> None:
    """A table; the columns from number `right` on hold figures."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number >= right else "left", overflow="fold")
    for row in rows:
        cells: list[RenderableType] = [Text(cell) for cell in row]
        table.add_row(*cells)
    console().print(table)


SCORE_COLUMNS = ("tasks", "average reward", "95 % interval", "success", "deliberates", "tokens/task")


def score_cells(row: Mapping[str, Any]) -> list[str]:
    """The values of `SCORE_COLUMNS` in a row of scores."""
    return [
        str(row["tasks"]),
        f"{row['average_reward']:.1%}",
        f"{row['reward_low']:.1%} – {row['reward_high']:.1%}",
        f"{row['success_rate']:.1%}",
        f"{row['deliberation_rate']:.1%}",
        f"{row['tokens_per_task']:.0f}",
    ]
