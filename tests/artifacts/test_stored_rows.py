"""Stored rows are the same one by one, in order, by an id and by a group."""

from __future__ import annotations

from pathlib import Path

import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import StoredRows
from tests.artifacts.experiment import write
from tests.artifacts.rows import row

MANY = [row("candidate_actions", f"c{n}", step_id=f"s{n // 3}", texts=["a", str(n)]) for n in range(1300)]


@pytest.fixture
def stored(tmp_path: Path) -> StoredRows:
    store = ArtifactStore(tmp_path, "household")
    write(store, "candidate_actions", "01", MANY)
    return StoredRows(store.scan("candidate_actions", "01"))


def test_they_are_a_sequence(stored: StoredRows) -> None:
    assert list(stored) == MANY and len(stored) == len(MANY)
    assert [stored[0], stored[512], stored[-1]] == [MANY[0], MANY[512], MANY[-1]]
    assert stored[510:514] == MANY[510:514]
    with pytest.raises(IndexError):
        stored[1300]


def test_they_are_found_by_an_id_and_by_what_they_share(stored: StoredRows) -> None:
    by_id, by_step = stored.by("candidate_id"), stored.grouped("step_id")
    assert by_id["c777"] == MANY[777] and by_id.get("c1300") is None and len(by_id) == len(MANY)
    assert by_step["s170"] == MANY[510:513] and by_step["s433"] == MANY[1299:]
    assert "s434" not in by_step


def test_no_rows_are_no_rows(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, "household")
    write(store, "rollouts", "00", [])
    empty = StoredRows(store.scan("rollouts", "00"))
    assert not empty and list(empty) == [] and not empty.by("candidate_id")
