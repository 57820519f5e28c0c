"""Stored rows are the same when they are read in order, by an id and by a group."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import StoredRows, rows_of
from sand_dagster.errors import ArtifactError
from sand_dagster.rows.candidates import CandidateRow, RolloutRow
from tests.artifacts.experiment import write
from tests.artifacts.rows import row

MANY = [row("candidate_actions", f"c{n}", step_id=f"s{n // 3}", texts=["a", str(n)]) for n in range(1300)]


@pytest.fixture
def stored(tmp_path: Path) -> StoredRows[CandidateRow]:
    store = ArtifactStore(tmp_path, "household")
    write(store, "candidate_actions", "01", MANY)
    return rows_of(store, CandidateRow, "01")


def test_they_are_a_sequence(stored: StoredRows[CandidateRow]) -> None:
    assert list(stored) == MANY and len(stored) == len(MANY)
    assert [stored[0], stored[512], stored[-1]] == [MANY[0], MANY[512], MANY[-1]]
    assert stored[510:514] == MANY[510:514]
    with pytest.raises(IndexError):
        stored[1300]


def test_they_are_found_by_an_id_and_by_what_they_share(stored: StoredRows[CandidateRow]) -> None:
    by_id, by_step = stored.by("candidate_id"), stored.grouped("step_id")
    assert by_id["c777"] == MANY[777] and by_id.get("c1300") is None and len(by_id) == len(MANY)
    assert by_step["s170"] == MANY[510:513] and by_step["s433"] == MANY[1299:]
    assert "s434" not in by_step


def test_no_rows_are_no_rows(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, "household")
    write(store, "rollouts", "00", [])
    empty = rows_of(store, RolloutRow, "00")
    assert not empty and list(empty) == [] and not empty.by("candidate_id")


def test_a_word_that_this_version_does_not_know_is_named_with_its_row(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, "household")
    write(store, "rollouts", "01", [row("rollouts", f"r{n}", ended="done") for n in range(600)])
    rows = store.scan("rollouts", "01").with_columns(
        ended=pl.when(pl.col("rollout_id") == "r555").then(pl.lit("asleep")).otherwise("ended")
    )
    message = r"table rollouts, row 555, column ended: .* found str 'asleep'\. .*Materialise it again"
    with pytest.raises(ArtifactError, match=message):
        list(StoredRows(RolloutRow, rows))
    with pytest.raises(ArtifactError, match=message):
        StoredRows(RolloutRow, rows)[555]
