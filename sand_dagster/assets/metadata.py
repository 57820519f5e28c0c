"""What a person wants to see of a materialisation: counts, a few rows, an example, a picture."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import dagster as dg
import polars as pl

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.schemas import Table
from sand_dagster.outcomes import ReplyOutcome
from sand_dagster.prompts.turns import render_history, render_rollout, render_turn
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow
from sand_dagster.rows.evaluation import EpisodeRow
from sand_dagster.rows.plain import plain, typed
from sand_dagster.rows.row import Row
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow, ExpertRow, StepRow

R = TypeVar("R", bound=Row)

_PREVIEW_ROWS = 5
_PREVIEW_WIDTH = 80
_EXAMPLE_WIDTH = 4000


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns with their descriptions."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name, str(column.dtype), description=column.description)
            for name, column in table.columns.items()
        ]
    )


def describe(table: Table, rows: pl.LazyFrame, manifest: Manifest) -> dict[str, Any]:
    """The metadata that every asset has. Of `rows` only those that are shown are read."""
    metadata: dict[str, Any] = {
        "dagster/row_count": manifest.rows,
        "content_hash": manifest.content_hash,
        "identity": manifest.identity.key,
        "inputs": dg.MetadataValue.json(dict(manifest.inputs)),
        **{name: _number(value) for name, value in manifest.counts.items()},
    }
    if manifest.rows:
        metadata["rows"] = dg.MetadataValue.md(_preview(table, rows.head(_PREVIEW_ROWS).collect()))
        if table.name in _EXAMPLES:
            example = _EXAMPLES[table.name](rows)[:_EXAMPLE_WIDTH]
            metadata["example"] = dg.MetadataValue.md(f"```text\n{example}\n```")
    return metadata


def picture(png: bytes, title: str) -> str:
    """A PNG as Markdown with the image inside it."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def readable(row: Row) -> str:
    """A row's texts, for the log of a trial."""
    shown = {
        name: value
        for name, value in plain(row).items()
        if value not in ("", (), None) and not name.endswith("_id")
    }
    return "\n".join(f"{name}: {_cell(value)}" for name, value in shown.items())


def _number(value: int | float) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)


def _preview(table: Table, rows: pl.DataFrame) -> str:
    names = [name for name, dtype in table.schema.items() if not isinstance(dtype, pl.List)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows.select(names).iter_rows()]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= _PREVIEW_WIDTH else text[: _PREVIEW_WIDTH - 1] + "…"


def _first(kind: type[R], rows: pl.LazyFrame) -> R | None:
    """The first of `rows`, of a `kind`; None where there is none."""
    return next(iter(_typed(kind, rows.head(1))), None)


def _with_first(kind: type[R], rows: pl.LazyFrame, column: str) -> list[R]:
    """The rows that have the first row's value in `column`."""
    value = rows.select(column).head(1).collect().item()
    return _typed(kind, rows.filter(pl.col(column) == value))


def _typed(kind: type[R], rows: pl.LazyFrame) -> list[R]:
    return [typed(kind, values) for values in rows.collect().iter_rows(named=True)]


def _first_trajectory(kind: type[StepRow], rows: pl.LazyFrame) -> str:
    steps = _with_first(kind, rows, "trajectory_id")
    history = render_history([row.step for row in steps])
    return f"{steps[0].instruction}\n\n{history}\n\nreward {steps[0].reward:g}"


def _first_deliberation(rows: pl.LazyFrame) -> str:
    first = _first(DeliberationRow, rows.filter(pl.col("outcome") == ReplyOutcome.OK))
    return render_turn(first.thought, first.action) if first else _first_trajectory(DeliberationRow, rows)


def _first_set(rows: pl.LazyFrame) -> str:
    deliberating = rows.filter("deliberates")
    some = _first(CandidateRow, deliberating) is not None
    return "\n".join(
        f"{row.votes} votes  {row.action}{'  (the expert)' if row.is_expert else ''}"
        for row in _with_first(CandidateRow, deliberating if some else rows, "step_id")
    )


def _first_played(kind: type[RolloutRow] | type[EpisodeRow], rows: pl.LazyFrame) -> str:
    first = _first(kind, rows)
    return render_rollout([turn.step for turn in first.steps], first.reward) if first else ""


def _first_critique(rows: pl.LazyFrame) -> str:
    first = _first(CritiqueRow, rows.filter(pl.col("outcome") == ReplyOutcome.OK))
    return first.critique if first else ""


_EXAMPLES: dict[str, Callable[[pl.LazyFrame], str]] = {
    "expert_data": partial(_first_trajectory, ExpertRow),
    "expert_trajectories": partial(_first_trajectory, DemonstrationRow),
    "candidate_actions": _first_set,
    "rollouts": partial(_first_played, RolloutRow),
    "critiques": _first_critique,
    "deliberation_trajectories": _first_deliberation,
    "eval_episodes": partial(_first_played, EpisodeRow),
}
