"""Differences between the tables of two iterations, and between the tables after two runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from sand_dagster.artifacts.history import Version, as_of, versions
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.parquet import scan_parquet
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.errors import ArtifactError, MissingArtifact

Row = dict[str, Any]

_IDENTITY: Mapping[str, tuple[str, ...]] = {
    "tasks": ("task_id",),
    "expert_import": ("row", "record_id", "task_id"),
    "expert_data": ("trajectory_id", "index"),
    "base_model": ("file",),
    "expert_trajectories": ("trajectory_id", "index"),
    "policy": ("role",),
    "candidate_actions": ("trajectory_id", "index", "normalised"),
    "deliberation_trajectories": ("trajectory_id", "index"),
    "explorations": ("task_id", "sample"),
    "checkpoints": (),
    "eval_episodes": ("task_id",),
    "eval_scores": ("split",),
    "search_episodes": ("mode", "task_id", "sample"),
    "search_scores": ("mode", "samples", "split"),
}
"""The columns that identify a row in any version; ids cannot, because they change with what they hash."""

_PLAYED = ("rollouts", "critiques")
"""Tables whose rows belong to a candidate: they are matched by its step and action."""

_MAX_TEXT = frozenset({"prompt_tokens", "completion_tokens", "seconds", "loss_curve", "folder", "files"})
"""Columns whose differences alone do not count as a change."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row that differs in the second version: `columns` has the values that changed, (before, after)."""

    name: str
    columns: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class TableDifference:
    """Two versions of a table."""

    table: str
    before: Manifest
    after: Manifest
    same: int
    changed: list[Change]
    gone: list[str]
    new: list[str]
    """Names of rows."""
    made: list[str]
    """The differences of the stage's identity, one line each."""

    @property
    def equal(self) -> bool:
        """Whether the rows are the same."""
        return self.before.content_hash == self.after.content_hash


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Evaluated tasks that both have, by how their result changed; a task is (split, task, before, after)."""

    iteration: str | None
    won: list[tuple[str, str, float, float]]
    lost: list[tuple[str, str, float, float]]
    same: int


def compare_iterations(store: ArtifactStore, table: str, before: str, after: str) -> TableDifference:
    """Two iterations of a table.

    Raises:
        MissingArtifact: one of them is not complete.
    """
    found = []
    for iteration in (before, after):
        folder = store.folder(table, iteration)
        kept = versions(folder)
        if not kept or not kept[-1].current:
            raise MissingArtifact(store.experiment, table, iteration, folder)
        found.append((_names(store, kept[-1]), kept[-1]))
    return _compare(table, *found[0], *found[1])


def compare_runs(
    home: Path, before: tuple[str, str | None], after: tuple[str, str | None]
) -> tuple[list[TableDifference], list[Outcomes]]:
    """Compare the tables after two runs, each (experiment, run; None: the current tables): the tables that
    differ, and the evaluated tasks of each iteration.

    Raises:
        ArtifactError: there is no such run, or the two have no table in common.
    """
    first, second = (as_of(home, *place) for place in (before, after))
    common = [place for place in first if place in second]
    if not common:
        raise ArtifactError(
            f"{before[0]} and {after[0]} have no table in common: there is nothing to compare"
        )
    stores = [ArtifactStore(home, experiment) for experiment, _ in (before, after)]
    differences, outcomes = [], []
    for place in common:
        a, b = first[place], second[place]
        if a.manifest.content_hash != b.manifest.content_hash:
            names = [
                _names(store, version, snapshot)
                for store, version, snapshot in zip(stores, (a, b), (first, second), strict=True)
            ]
            differences.append(_compare(place[0], names[0], a, names[1], b))
        if place[0] == "eval_episodes":
            outcomes.append(_outcomes(place[1], _rows(a), _rows(b)))
    return differences, outcomes


def _compare(
    table: str, before: Mapping[str, Row], a: Version, after: Mapping[str, Row], b: Version
) -> TableDifference:
    ids = {TABLES[table].key, *TABLES[table].parents, "model_id", "prompt_hash", "content"}
    columns = [name for name in TABLES[table].columns if name not in ids | _MAX_TEXT]
    changed, same = [], 0
    for name in (name for name in before if name in after):
        differing = {
            column: (before[name][column], after[name][column])
            for column in columns
            if before[name].get(column) != after[name].get(column)
        }
        if differing:
            changed.append(Change(name, differing))
        else:
            same += 1
    return TableDifference(
        table,
        a.manifest,
        b.manifest,
        same,
        changed,
        [name for name in before if name not in after],
        [name for name in after if name not in before],
        a.manifest.identity.differences(b.manifest.identity),
    )


def _names(
    store: ArtifactStore,
    version: Version,
    snapshot: Mapping[tuple[str, str | None], Version] | None = None,
) -> dict[str, Row]:
    """The rows by a name that identifies the row in any version; rows with the same name are numbered."""
    table, iteration = version.manifest.table, version.manifest.iteration
    rows = _rows(version)
    parts: Iterable[tuple[Any, ...]]
    if table in _PLAYED:
        place = ("candidate_actions", iteration)
        candidates = snapshot.get(place) if snapshot else None
        if candidates is None:
            kept = versions(store.folder(*place))
            if not kept:
                raise MissingArtifact(store.experiment, *place, store.folder(*place))
            candidates = kept[-1]
        of = {row["candidate_id"]: row for row in _rows(candidates)}
        columns = _IDENTITY["candidate_actions"]
        parts = (
            tuple(of[row["candidate_id"]][c] for c in columns)
            if row["candidate_id"] in of
            else (row["candidate_id"],)
            for row in rows
        )
    else:
        parts = (tuple(row[column] for column in _IDENTITY[table]) for row in rows)
    named: dict[str, Row] = {}
    for row, part in zip(rows, parts, strict=True):
        name = " ".join(map(str, part)) or table
        count = 2
        while name in named:
            name = f"{' '.join(map(str, part))} ({count})"
            count += 1
        named[name] = row
    return named


def _outcomes(iteration: str | None, before: Sequence[Row], after: Sequence[Row]) -> Outcomes:
    then = {row["task_id"]: row for row in before}
    both = [
        (row["split"], row["task_id"], then[row["task_id"]]["reward"], row["reward"])
        for row in after
        if row["task_id"] in then
    ]
    won = [task for task in both if task[3] > task[2]]
    lost = [task for task in both if task[3] < task[2]]
    return Outcomes(iteration, won, lost, len(both) - len(won) - len(lost))


def _rows(version: Version) -> list[Row]:
    frame = scan_parquet(version.data).collect()
    assert isinstance(frame, pl.DataFrame)
    return frame.to_dicts()
