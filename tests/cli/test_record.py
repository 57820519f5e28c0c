"""What is said where the database fails that holds Dagster's record: a full disk is no damage."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy.exc import OperationalError

from sand_dagster.cli.errors import _expected, database_problem
from sand_dagster.jobs.instance import POSTGRES, opened
from tests.jobs.postgres import PROGRAMS, postgres


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAND_HOME", str(tmp_path))
    (tmp_path / "dagster").mkdir()
    return tmp_path / "dagster"


def _full(folder: Path) -> None:
    with sqlite3.connect(folder / "a.db") as database:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (?)", ["x" * 100_000])


def _damaged(folder: Path) -> None:
    (folder / "b.db").write_text("no database at all" * 100)
    sqlite3.connect(folder / "b.db").execute("SELECT * FROM t")


def _said(fail: Callable[[Path], None], folder: Path) -> str:
    with pytest.raises(sqlite3.DatabaseError) as failed:
        fail(folder)
    return database_problem(OperationalError("SELECT", {}, failed.value))


def test_a_full_disk_is_said_to_be_full(record: Path) -> None:
    said = _said(_full, record)
    assert said.startswith("no space left on the disk") and "damaged" not in said


def test_a_file_that_is_no_database_is_said_to_be_damaged(record: Path) -> None:
    assert "is damaged (file is not a database). Move it away" in _said(_damaged, record)


@pytest.mark.parametrize(
    ("free", "message"), [(0, "no space left on the disk"), (1 << 30, "the disk failed on Dagster's record")]
)
def test_a_failed_write_is_no_damage_and_on_a_disk_without_room_it_is_that(
    record: Path, free: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says the same of a broken disk, of a limit, and of a full disk that holds its other files."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    said = database_problem(OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error")))
    assert said.startswith(message) and "damaged" not in said


@pytest.mark.skipif(PROGRAMS is None, reason="needs Debian's package postgresql")
def test_a_teams_database_that_is_away_is_no_damage_and_its_password_is_not_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # restored afterwards
    with ExitStack() as until_end:
        with postgres() as url:
            monkeypatch.setenv(POSTGRES, url)
            instance = until_end.enter_context(opened(tmp_path))
        with pytest.raises(Exception, match="onnect") as failed:
            instance.get_runs()
    said, _ = _expected(failed.value) or ("a traceback", 0)
    assert "it failed (" in said and "onnect" in said
    assert "secret" not in said and "damaged" not in said
