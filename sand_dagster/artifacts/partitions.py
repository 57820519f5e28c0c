"""Which partitions of an experiment there are, and in what state."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from sand_dagster.artifacts.history import partition_folders
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import JOURNAL, ArtifactStore
from sand_dagster.errors import TornArtifact


class Partition(NamedTuple):
    """A partition on disk: `state` compares its file with its manifest, `journalled` counts journal lines."""

    table: str
    iteration: str | None
    state: Literal["complete", "incomplete", "damaged"]
    rows: int | None
    content_hash: str | None
    created_at: datetime | None
    run_id: str | None
    journalled: int


def partitions(store: ArtifactStore) -> list[Partition]:
    """All partitions that were ever started: unpartitioned tables, then iteration by iteration."""
    begun = partition_folders(store.home, store.experiment)
    found = [_examine(store, table, iteration) for table, iteration, _ in begun]
    order = list(TABLES)
    return sorted(found, key=lambda p: (p.iteration or "", order.index(p.table)))


def _examine(store: ArtifactStore, table: str, iteration: str | None) -> Partition:
    folder = store.folder(table, iteration)
    journalled = _lines(folder / JOURNAL)
    try:
        manifest = store.manifest(table, iteration)
    except TornArtifact:
        return Partition(table, iteration, "damaged", None, None, None, None, journalled)
    if manifest is None:
        return Partition(table, iteration, "incomplete", None, None, None, None, journalled)
    try:
        store.data(table, iteration)
        whole = True
    except TornArtifact:
        whole = False
    return Partition(
        table,
        iteration,
        "complete" if whole else "damaged",
        manifest.rows,
        manifest.content_hash,
        manifest.created_at,
        manifest.run_id,
        journalled,
    )


def _lines(journal: Path) -> int:
    try:
        with journal.open("rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0
