"""Costs by stage: tokens from the tables, seconds from the manifests."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.reports.subjects import Subject
from sand_dagster.reports.table import Cell, Column, Table, Unit

_TRAINING = {"checkpoints": ("tokens", "trained_tokens")}
_GPU_SECONDS = "GPU seconds"
_TOKENS = ("prompt_tokens", "completion_tokens")


def table(subjects: Sequence[Subject]) -> Table:
    """Rows, tokens and seconds of every complete stage of every iteration."""
    rows: list[list[Cell]] = []
    for subject in subjects:
        for iteration in subject.store.iterations("expert_trajectories"):
            rows += _iteration(subject.store, iteration)
    return Table(
        "costs",
        "Costs by stage",
        "Tokens read and written by the models; of checkpoints the tokens of the training, and those that "
        "the loss is computed over. Seconds: from the end of the stage before to the end of this one, in one "
        "Dagster run. Empty where the two were made in different runs. Time for units that an earlier run "
        "finished is not in it. GPU seconds: seconds times the GPUs that the stage held, used or not.",
        (
            Column("experiment"),
            Column("iteration"),
            Column("stage"),
            Column("rows", Unit.COUNT),
            Column("tokens read", Unit.COUNT),
            Column("tokens written", Unit.COUNT),
            Column("seconds", Unit.SECONDS),
            Column(_GPU_SECONDS, Unit.SECONDS),
        ),
        rows,
    ).without_empty(_GPU_SECONDS)


def _iteration(store: ArtifactStore, iteration: str) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    before: Manifest | None = None
    for name, table in TABLES.items():
        manifest = store.manifest(name, iteration) if table.partitioned else None
        if manifest is None:
            continue
        read, written = _tokens(store, manifest)
        seconds = None
        if before is not None and before.run_id == manifest.run_id:
            seconds = (manifest.created_at - before.created_at).total_seconds()
        gpus = manifest.counts.get("gpus")
        on_gpus = None if gpus is None or seconds is None else gpus * seconds
        rows.append([store.experiment, iteration, name, manifest.rows, read, written, seconds, on_gpus])
        before = manifest
    return rows


def _tokens(store: ArtifactStore, manifest: Manifest) -> tuple[int | None, int | None]:
    columns = _TRAINING.get(manifest.table, _TOKENS)
    if not set(columns) <= TABLES[manifest.table].columns.keys():
        return None, None
    rows = store.scan(manifest.table, manifest.iteration)
    if manifest.table == "candidate_actions":
        rows = rows.filter("is_expert")  # each of a step's candidates holds the tokens of the whole step
    read, written = rows.select(pl.col(columns).sum()).collect().row(0)
    return int(read), int(written)
