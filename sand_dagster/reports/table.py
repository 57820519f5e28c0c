"""A table of the report, and how it is written: CSV, Markdown and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from html import escape

Cell = str | int | float | tuple[float, float] | None
"""A value of a table. A pair is an interval."""

_MARKDOWN = str.maketrans({"|": r"\|", "\n": " ", "<": "&lt;", "`": r"\`"})
_MINUS = "−"


class Unit(Enum):
    """What a column's values are, and so how they are written for people."""

    TEXT = "text"
    COUNT = "count"
    DECIMAL = "number with one decimal"
    RATE = "number with three decimals"
    PERCENT = "share in [0, 1], written as a percentage"
    POINTS = "difference in [-1, 1], written in points"
    DECIMAL_INTERVAL = "pair of numbers with one decimal"
    RATE_INTERVAL = "pair of numbers with three decimals"
    PERCENT_INTERVAL = "pair of shares"
    POINTS_INTERVAL = "pair of differences"
    FACTOR = "ratio"
    P_VALUE = "p-value"
    SECONDS = "seconds"

    @property
    def is_interval(self) -> bool:
        """Whether a value is a pair."""
        return self in _ENDS


_ENDS = {
    Unit.DECIMAL_INTERVAL: Unit.DECIMAL,
    Unit.RATE_INTERVAL: Unit.RATE,
    Unit.PERCENT_INTERVAL: Unit.PERCENT,
    Unit.POINTS_INTERVAL: Unit.POINTS,
}
"""What the two ends of an interval are."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: what its head says, and what its values are."""

    name: str
    unit: Unit = Unit.TEXT


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report: `name` is that of its files; `note` says how to read it."""

    name: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    def without_empty(self, *names: str) -> Table:
        """The table without those of the columns `names` that have no value in any row."""
        kept = [
            place
            for place, column in enumerate(self.columns)
            if column.name not in names or any(row[place] is not None for row in self.rows)
        ]
        return replace(
            self,
            columns=[self.columns[place] for place in kept],
            rows=[[row[place] for place in kept] for row in self.rows],
        )

    def csv(self) -> str:
        """The values as they were computed, not rounded. An interval has two columns."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        head: list[str] = []
        for column in self.columns:
            interval = column.unit.is_interval
            head += [f"{column.name} {end}" for end in ("low", "high")] if interval else [column.name]
        writer.writerow(head)
        for row in self.rows:
            values: list[Cell] = []
            for column, cell in zip(self.columns, row, strict=True):
                if column.unit.is_interval:
                    values += list(cell) if isinstance(cell, tuple) else [None, None]
                else:
                    values.append(_inert(cell))
            writer.writerow(values)
        return text.getvalue()

    def markdown(self) -> str:
        """A Markdown table below its title."""
        head = [column.name for column in self.columns]
        rule = ["---" if column.unit is Unit.TEXT else "---:" for column in self.columns]
        lines = [head, rule, *self.texts()]
        body = "\n".join(f"| {' | '.join(cell.translate(_MARKDOWN) for cell in line)} |" for line in lines)
        return f"### {self.title}\n\n{self.note}\n\n{body}\n"

    def html(self) -> str:
        """A `<table>` with its caption; the first cell of a row is its head. Every text is escaped."""

        def cell(column: Column, text: str, scope: str = "") -> str:
            kind = "" if column.unit is Unit.TEXT else ' class="figure"'
            tag, heads = ("th", f' scope="{scope}"') if scope else ("td", "")
            return f"<{tag}{heads}{kind}>{escape(text)}</{tag}>"

        head = "".join(cell(column, column.name, "col") for column in self.columns)
        lines = [
            "".join(
                cell(column, text, "" if number else "row")
                for number, (column, text) in enumerate(zip(self.columns, row, strict=True))
            )
            for row in self.texts()
        ]
        body = "\n".join(f"<tr>{line}</tr>" for line in lines)
        return (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(self.title)}">'
            f"<table><caption>{escape(self.title)}</caption>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}\n</tbody></table></div>"
        )

    def texts(self) -> list[list[str]]:
        """The cells as people read them."""
        return [
            [_text(cell, column.unit) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]


def _inert(cell: Cell) -> Cell:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _text(cell: Cell, unit: Unit) -> str:
    if cell is None:
        return ""
    if isinstance(cell, tuple):
        return " to ".join(_text(end, _ENDS[unit]) for end in cell)
    if isinstance(cell, str):
        return cell
    match unit:
        case Unit.COUNT:
            return f"{cell:,}"
        case Unit.DECIMAL:
            return f"{cell:,.1f}"
        case Unit.RATE:
            return f"{cell:.3f}"
        case Unit.PERCENT:
            return f"{cell:.1%}"
        case Unit.POINTS:
            return _signed(100 * cell)
        case Unit.FACTOR:
            return f"{cell:.1f} ×"
        case Unit.P_VALUE:
            return "< 0.001" if cell < 0.001 else f"{cell:.3f}"
        case Unit.SECONDS:
            return f"{cell:,.0f}" if cell >= 10 else f"{cell:.1f}"
        case _:
            return str(cell)


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", _MINUS)
