"""The Dagster instance of a home that several processes use."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sand_dagster.home import locked
from sand_dagster.jobs.instance import opened


def _ask(home: Path) -> int:
    with opened(home) as instance:
        return instance.get_runs_count()


def test_who_comes_to_a_new_home_waits_while_another_makes_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # put back afterwards
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "dagster"):
            asked = pool.submit(_ask, tmp_path)
            with pytest.raises(TimeoutError):
                asked.result(timeout=0.5)
            assert not list(tmp_path.rglob("*.db"))
        assert asked.result(timeout=60) == 0
