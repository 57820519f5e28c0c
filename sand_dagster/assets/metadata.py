"""What a person wants to see of a materialisation: counts, a few rows, an example, a picture."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import dagster as dg

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.schemas import Table
from sand_dagster.sand.turns import render_history, render_rollout, render_turn
from sand_dagster.sand.types import Step
from sand_dagster.sand.units import Row

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


def describe(table: Table, rows: list[Row], manifest: Manifest) -> dict[str, Any]:
    """The metadata that every asset has."""
    metadata: dict[str, Any] = {
        "dagster/row_count": manifest.rows,
        "content_hash": manifest.content_hash,
        "config_hash": manifest.config_hash,
        "inputs": dg.MetadataValue.json(dict(manifest.inputs)),
        **{name: _number(value) for name, value in manifest.counts.items()},
    }
    if rows:
        metadata["rows"] = dg.MetadataValue.md(_preview(table, rows))
        if table.name in _EXAMPLES:
            example = _EXAMPLES[table.name](rows)[:_EXAMPLE_WIDTH]
            metadata["example"] = dg.MetadataValue.md(f"```text\n{example}\n```")
    return metadata


def picture(png: bytes, title: str) -> str:
    """A PNG as Markdown with the image inside it."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def _number(value: int | float) -> dg.MetadataValue[Any]:
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)


def _preview(table: Table, rows: list[Row]) -> str:
    names = [name for name in table.columns if not isinstance(rows[0][name], list)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows[:_PREVIEW_ROWS]]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= _PREVIEW_WIDTH else text[: _PREVIEW_WIDTH - 1] + "…"


def _first_trajectory(rows: list[Row]) -> str:
    first = [row for row in rows if row["trajectory_id"] == rows[0]["trajectory_id"]]
    steps = [Step(row["thought"], row["action"], row["observation"]) for row in first]
    return f"{first[0]['instruction']}\n\n{render_history(steps)}\n\nreward {first[0]['reward']:g}"


def _first_deliberation(rows: list[Row]) -> str:
    for row in rows:
        if row["outcome"] == "ok":
            return render_turn(row["thought"], row["action"])
    return _first_trajectory(rows)


def _first_set(rows: list[Row]) -> str:
    step = next((row["step_id"] for row in rows if row["deliberates"]), rows[0]["step_id"])
    chosen = [row for row in rows if row["step_id"] == step]
    return "\n".join(
        f"{row['votes']} votes  {row['action']}{'  (the expert)' if row['is_expert'] else ''}"
        for row in chosen
    )


def _first_rollout(rows: list[Row]) -> str:
    steps = [Step(s["thought"], s["action"], s["observation"]) for s in rows[0]["steps"]]
    return render_rollout(steps, rows[0]["reward"])


def _first_critique(rows: list[Row]) -> str:
    return next((str(row["critique"]) for row in rows if row["outcome"] == "ok"), "")


_EXAMPLES: dict[str, Callable[[list[Row]], str]] = {
    "expert_trajectories": _first_trajectory,
    "demonstrations": _first_trajectory,
    "candidate_actions": _first_set,
    "rollouts": _first_rollout,
    "critiques": _first_critique,
    "deliberation_trajectories": _first_deliberation,
    "eval_episodes": _first_rollout,
}
