"""An iteration's trajectories as a Hugging Face dataset: a folder with Parquet and a card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.exports.card import (
    PAPER,
    base_model,
    hub_name,
    lineage_section,
    settings_section,
    table,
    write_card,
    write_lineage,
)
from sand_dagster.exports.lineage import Source, sources
from sand_dagster.exports.trajectories import Exported
from sand_dagster.files import write_folder
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow

_FILE = Path("data") / "train-00000-of-00001.parquet"
_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e99, "n>1M"))
"""The hub's words for how many rows there are: fewer than the number."""

_STEP = {
    "thought": pl.String(),
    "action": pl.String(),
    "observation": pl.String(),
    "step_id": pl.String(),
    "deliberated": pl.Boolean(),
    "origin": pl.String(),
}
_COLUMNS: dict[str, tuple[pl.DataType, str]] = {
    "id": (pl.String(), "the trajectory's id in the file that it was imported from, else the task's id"),
    "game_file": (pl.String(), "ALFWorld: the game, relative to the folder of games; else empty"),
    "task_id": (pl.String(), "the task"),
    "trajectory_id": (pl.String(), "the trajectory; the same through all iterations"),
    "reward": (pl.Float64(), "the reward at the end, in [0, 1]"),
    "messages": (
        pl.List(pl.Struct({"role": pl.String(), "content": pl.String()})),
        "the chat: the prompt with the task, then turns and observations; it ends with the agent's last turn",
    ),
    "instruction": (pl.String(), "the task's text"),
    "steps": (
        pl.List(pl.Struct(_STEP)),
        "thoughts, actions and observations on their own, the last observation too; `step_id` names the row "
        "of the table, `deliberated` says whether the thought is a synthesised deliberation, `origin` who "
        "chose the action",
    ),
}


def write_dataset(
    folder: Path, store: ArtifactStore, kind: Exported, iteration: str, rows: Sequence[dict[str, Any]]
) -> None:
    """Write `rows`, which have `messages`, as `folder`, completely or not at all.

    Raises:
        FileExistsError: there is something at `folder`.
        DiskFull: there was no space; nothing was left behind.
    """
    schema = {column: dtype for column, (dtype, _) in _COLUMNS.items()}
    frame = pl.DataFrame(list(rows), schema=schema)
    found = sources(store, kind.table, iteration)

    def write(temporary: Path) -> None:
        (temporary / _FILE).parent.mkdir()
        _write_parquet(temporary / _FILE, frame)
        values = {"experiment": store.experiment, "iteration": iteration, "table": kind.table}
        write_lineage(temporary, found, {**values, "base_model": base_model(store)})
        write_card(temporary, _front(store, iteration, frame.height), _sections(store, kind, found, frame))

    write_folder(folder, write)


def _write_parquet(path: Path, frame: pl.DataFrame) -> None:
    # Not polars' own writer: on a full disk its error says nothing of the disk.
    from pyarrow.parquet import write_table

    with path.open("wb") as file:
        write_table(frame.to_arrow(compat_level=pl.CompatLevel.oldest()), file, compression="zstd")


def _front(store: ArtifactStore, iteration: str, rows: int) -> str:
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        pretty_name=f"{store.experiment}, iteration {iteration}",
        tags=["sand", "agent", "trajectories"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": str(_FILE)}]}],
        size_categories=[next(words for most, words in _SIZES if rows < most)],
    )
    return data.to_yaml()


def _sections(store: ArtifactStore, kind: Exported, found: list[Source], frame: pl.DataFrame) -> list[str]:
    what = {
        DemonstrationRow: "the demonstrations D_exp that the iteration started with",
        DeliberationRow: "the deliberation trajectories D_delib that its agent was finetuned on",
    }[kind]
    steps = frame["steps"].list.len().sum()
    model = base_model(store)
    columns = [[f"`{column}`", meaning] for column, (_, meaning) in _COLUMNS.items()]
    on_the_hub = f"[{model}](https://huggingface.co/{model})" if hub_name(model) else f"`{model}`"
    return [
        f"# {store.experiment}, iteration {found[0].iteration}: {kind.table.replace('_', ' ')}",
        f"Trajectories of a language agent in a text environment, made with {PAPER}: {what}. "
        f"{frame.height} trajectories, {steps} steps. The base model is {on_the_hub}.",
        "The licences of the environment, of the expert trajectories and of the base model apply; this card "
        "grants none.",
        f"## Columns\n\n{table(('column', 'what it holds'), columns)}",
        lineage_section(found),
        settings_section(found),
    ]
