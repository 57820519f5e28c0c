"""What has to be true of a home that several people use."""

from __future__ import annotations

import errno
import fcntl
import json
from pathlib import Path

import pytest

from sand_dagster.errors import InstanceError
from sand_dagster.jobs import instance as module
from sand_dagster.jobs import shared_home
from sand_dagster.jobs.instance import POSTGRES, dagster_home, mark_process, opened
from tests.jobs.postgres import PROGRAMS, postgres
from tests.jobs.test_instance import _started


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # restored afterwards
    monkeypatch.delenv(POSTGRES, raising=False)


def test_a_filesystem_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared_home.check_filesystem(tmp_path)
    assert list(tmp_path.iterdir()) == [], "nothing is left of the check"

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(InstanceError, match=r"does not have working locks.*No locks available.*SAND_HOME"):
        shared_home.check_filesystem(tmp_path)
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(InstanceError, match="two processes can hold the same lock"):
        shared_home.check_filesystem(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_filesystem_that_does_not_replace_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "replace", lambda self, target: target)
    with pytest.raises(InstanceError, match="a renamed file does not replace the one before"):
        shared_home.check_filesystem(tmp_path)


def test_the_check_is_made_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(InstanceError, match="working locks"), opened(tmp_path, to_run=True):
        pass


def test_runs_of_another_machine_are_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, to_run=True) as instance:
        run = _started(instance, {})
        mark_process(instance, run)
    note = tmp_path / "dagster" / "orchestrator.json"
    here = json.loads(note.read_text())

    note.write_text(json.dumps(here | {"machine": "before the restart"}))
    with opened(tmp_path, to_run=True):  # the same machine, started again
        assert json.loads(note.read_text())["machine"] == here["machine"]

    elsewhere = {"host": "node-b", "machine": "another", "since": "2026-01-01 10:00:00"}
    note.write_text(json.dumps(elsewhere))
    with (
        pytest.raises(InstanceError, match=rf"machine node-b since 2026-01-01.*{run[:8]}.*remove {note}"),
        opened(tmp_path, to_run=True),
    ):
        pass
    assert json.loads(note.read_text()) == elsewhere
    with opened(tmp_path) as instance:  # to read, from anywhere
        assert instance.get_run_by_id(run) is not None
    note.unlink()
    with opened(tmp_path, to_run=True) as instance:
        instance.report_run_canceled(instance.get_run_by_id(run))
    note.write_text(json.dumps(elsewhere))
    with opened(tmp_path, to_run=True):  # nothing is under way there: the home has moved
        assert json.loads(note.read_text())["host"] == here["host"]


def _look_at_the_pool(home: Path) -> None:
    """It is there before the first run, with the limit of the settings unless a person gave it another."""

    def limit() -> int:
        with opened(home) as instance:
            (pool,) = instance.event_log_storage.get_pool_limits()
            return pool.limit

    assert limit() == 1
    settings = home / "dagster" / "dagster.yaml"
    settings.write_text(settings.read_text().replace("default_limit: 1", "default_limit: 3"))
    assert limit() == 3
    with opened(home) as instance:
        instance.event_log_storage.set_concurrency_slots("gpu", 2)
    assert limit() == 2


def test_the_pool_of_the_gpus(tmp_path: Path) -> None:
    _look_at_the_pool(tmp_path)


@pytest.mark.skipif(PROGRAMS is None, reason="needs Debian's package postgresql")
def test_the_instance_is_in_the_database_that_the_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres() as url:
        monkeypatch.setenv(POSTGRES, url)
        with opened(tmp_path) as instance:
            run = _started(instance, {})
        assert not list(tmp_path.rglob("*.db"))
        with opened(tmp_path) as instance:
            assert instance.get_run_by_id(run) is not None
        _look_at_the_pool(tmp_path)
        monkeypatch.setenv(POSTGRES, url.replace("sand:", "sand:wrong"))
        with (
            pytest.raises(InstanceError, match=rf"{POSTGRES} names cannot be used") as refused,
            opened(tmp_path),
        ):
            pass
        assert "wrong" not in str(refused.value)
        monkeypatch.setenv(POSTGRES, url.replace("+psycopg2", ""))
        with (
            pytest.raises(InstanceError, match=r"has to begin with postgresql\+psycopg2://"),
            opened(tmp_path),
        ):
            pass
        monkeypatch.delenv(POSTGRES)
        with (
            pytest.raises(InstanceError, match=rf"PostgreSQL database, and {POSTGRES} is not set"),
            opened(tmp_path),
        ):
            pass


def test_a_mistyped_url_leaves_the_instance_in_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as instance:
        run = _started(instance, {})
    monkeypatch.setenv(POSTGRES, "postgres://127.0.0.1/sand")
    with pytest.raises(InstanceError, match="has to begin with"), opened(tmp_path):
        pass
    monkeypatch.delenv(POSTGRES)
    with opened(tmp_path) as instance:
        assert instance.get_run_by_id(run) is not None


def test_the_settings_of_one_user_become_a_teams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dagster_home(tmp_path) / "dagster.yaml"
    assert "storage" not in settings.read_text()
    monkeypatch.setenv(POSTGRES, "postgresql://sand:secret@127.0.0.1/sand")
    dagster_home(tmp_path)
    assert settings.read_text().startswith(module._SETTINGS)
    assert POSTGRES in settings.read_text() and "secret" not in settings.read_text()
    settings.write_text("telemetry: {enabled: false}\n")
    assert dagster_home(tmp_path) and settings.read_text() == "telemetry: {enabled: false}\n"
