"""The README.md of an exported folder: what it is, and where every number in it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.exports.lineage import Source, settings
from sand_dagster.rows.evaluation import ScoreRow
from sand_dagster.rows.models import BaseModelRow

PAPER = "[SAND](https://arxiv.org/abs/2507.07441) (Xia et al., EMNLP 2025)"
README, LINEAGE = "README.md", "lineage.json"


def base_model(store: ArtifactStore) -> str:
    """The base model's name, for a person: of a folder on this machine only the last part.

    Raises:
        MissingArtifact: it is not recorded.
    """
    source = rows_of(store, BaseModelRow, None)[0].source
    return source if hub_name(source) else Path(source).name


def hub_name(source: str) -> bool:
    """Whether `source` is a name on the hub, such as `Qwen/Qwen2.5-7B-Instruct`."""
    owner, _, name = source.partition("/")
    path = "/" in name or source.startswith((".", "~", "/")) or Path(source).is_dir()
    return bool(owner and name) and not path


def scores_of(store: ArtifactStore, iteration: str) -> list[ScoreRow]:
    """The scores of an iteration; none if it was not evaluated."""
    if store.manifest(ScoreRow.table, iteration) is None:
        return []
    return list(rows_of(store, ScoreRow, iteration))


def scores_section(scores: Sequence[ScoreRow], data_version: str) -> str:
    """A table of the scores, with their intervals; or that there are none."""
    if not scores:
        return "## Scores\n\nIt was not evaluated."
    rows = [
        [
            row.split,
            row.protocol,
            str(row.tasks),
            f"{row.average_reward:.3f}",
            f"{row.reward_low:.3f} to {row.reward_high:.3f}",
            f"{row.success_rate:.3f}",
            f"{row.deliberation_rate:.3f}",
            f"{row.tokens_per_task:.0f}",
        ]
        for row in scores
    ]
    first = ("split", "protocol", "tasks", "average reward", "95 % interval", "success rate")
    columns = (*first, "deliberation rate", "tokens a task")
    note = f"Rewards are in [0, 1]. Data version of `eval_scores`: `{data_version}`."
    return f"## Scores\n\n{note}\n\n{table(columns, rows)}"


def lineage_section(found: Sequence[Source]) -> str:
    """What the exported partition was made from; `lineage.json` has the same for a program."""
    rows = [
        [
            f"`{source.table}`" if source.experiment == found[0].experiment else _elsewhere(source),
            source.iteration or "",
            "" if source.manifest is None else str(source.manifest.rows),
            f"`{source.content_hash}`",
            "not kept any more" if source.manifest is None else f"{source.manifest.created_at:%Y-%m-%d}",
        ]
        for source in found
    ]
    columns = ("table", "iteration", "rows", "data version", "made")
    return (
        "## Lineage\n\nThe first line is what was exported; the others are all that it was made from. A data "
        f"version is a SHA-256 over a table's rows.\n\n{table(columns, rows)}"
    )


def settings_section(found: Sequence[Source]) -> str:
    """The settings of this iteration and the package versions that decided what was exported."""
    made = found[0].manifest
    assert isinstance(made, Manifest)
    own = [source for source in found if source.iteration in (found[0].iteration, None)]
    versions = [[f"`{name}`", version] for name, version in sorted(made.versions.items())]
    return (
        "## Settings\n\nThose of this iteration; `lineage.json` has them all.\n\n"
        f"```json\n{json.dumps(settings(own), indent=1, ensure_ascii=False)}\n```\n\n"
        f"## Versions\n\n{table(('package', 'version'), versions)}"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def write_card(folder: Path, front: str, sections: Sequence[str]) -> None:
    """Write README.md: the front matter `front` (YAML), then the sections."""
    text = f"---\n{front.strip()}\n---\n\n" + "\n\n".join(sections) + "\n"
    (folder / README).write_text(text, encoding="utf-8")


def write_lineage(folder: Path, found: Sequence[Source], more: Mapping[str, Any]) -> None:
    """Write lineage.json: the same as the card, for a program."""
    values = {**more, "settings": settings(found), "made_from": [each.as_json() for each in found]}
    (folder / LINEAGE).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _elsewhere(source: Source) -> str:
    return f"`{source.experiment}/{source.table}`"
