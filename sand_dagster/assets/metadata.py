"""What a person wants to see of a materialisation: counts, a few rows, an example, a picture."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.schemas import Table
from sand_dagster.execution.units import Row
from sand_dagster.prompts.turns import render_history, render_rollout, render_turn
from sand_dagster.types import Step

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
        metadata["rows"] = dg.MetadataValue.md(_preview(table, _first(rows, _PREVIEW_ROWS)))
        if table.name in _EXAMPLES:
            example = _EXAMPLES[table.name](rows)[:_EXAMPLE_WIDTH]
            metadata["example"] = dg.MetadataValue.md(f"```text\n{example}\n```")
    return metadata


def picture(png: bytes, title: str) -> str:
    """A PNG as Markdown with the image inside it."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def readable(row: Row) -> str:
    """A row's texts, for the log of a trial."""
    told = (name for name, value in row.items() if value not in ("", [], None) and not name.endswith("_id"))
    return "\n".join(f"{name}: {_cell(row[name])}" for name in told)


def _number(value: int | float) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)


def _preview(table: Table, rows: list[Row]) -> str:
    names = [name for name in table.columns if not isinstance(rows[0][name], list)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= _PREVIEW_WIDTH else text[: _PREVIEW_WIDTH - 1] + "…"


def _first(rows: pl.LazyFrame, limit: int) -> list[Row]:
    return rows.head(limit).collect().to_dicts()


def _with_first(rows: pl.LazyFrame, column: str) -> list[Row]:
    """The rows that have the first row's value in `column`."""
    value = rows.select(column).head(1).collect().item()
    return rows.filter(pl.col(column) == value).collect().to_dicts()


def _first_trajectory(rows: pl.LazyFrame) -> str:
    first = _with_first(rows, "trajectory_id")
    steps = [Step(row["thought"], row["action"], row["observation"]) for row in first]
    return f"{first[0]['instruction']}\n\n{render_history(steps)}\n\nreward {first[0]['reward']:g}"


def _first_deliberation(rows: pl.LazyFrame) -> str:
    for row in _first(rows.filter(pl.col("outcome") == "ok"), 1):
        return render_turn(row["thought"], row["action"])
    return _first_trajectory(rows)


def _first_set(rows: pl.LazyFrame) -> str:
    deliberating = rows.filter("deliberates")
    chosen = _with_first(deliberating if _first(deliberating, 1) else rows, "step_id")
    return "\n".join(
        f"{row['votes']} votes  {row['action']}{'  (the expert)' if row['is_expert'] else ''}"
        for row in chosen
    )


def _first_rollout(rows: pl.LazyFrame) -> str:
    (row,) = _first(rows, 1)
    steps = [Step(s["thought"], s["action"], s["observation"]) for s in row["steps"]]
    return render_rollout(steps, row["reward"])


def _first_critique(rows: pl.LazyFrame) -> str:
    return "".join(row["critique"] for row in _first(rows.filter(pl.col("outcome") == "ok"), 1))


_EXAMPLES: dict[str, Callable[[pl.LazyFrame], str]] = {
    "expert_data": _first_trajectory,
    "expert_trajectories": _first_trajectory,
    "candidate_actions": _first_set,
    "rollouts": _first_rollout,
    "critiques": _first_critique,
    "deliberation_trajectories": _first_deliberation,
    "eval_episodes": _first_rollout,
}
