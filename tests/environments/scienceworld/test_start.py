"""A JVM that is ended in its start is a dead environment, and its unit repeated; one that fails says why."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.environments.scienceworld import Options
from sand_dagster.environments.scienceworld.simulator import Simulator, java
from sand_dagster.environments.scienceworld.specification import spec_of
from sand_dagster.interfaces import EnvironmentDied
from sand_dagster.types import Task

BOIL = Task("scienceworld/boil/0", "scienceworld", "train", "boil", 9, spec_of("boil", 0))


def in_javas_place(folder: Path, patch: pytest.MonkeyPatch, script: str) -> None:
    """What `java` is from here on."""
    program = folder / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    patch.setenv("PATH", str(folder), prepend=":")


def test_one_that_is_ended_in_its_start_is_a_dead_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_javas_place(tmp_path, monkeypatch, "kill -KILL $$")
    with pytest.raises(EnvironmentDied, match="was ended before ScienceWorld had started"):
        Simulator()


def test_one_that_is_ended_before_its_first_call_is_a_dead_environment() -> None:
    """Also what only looks a method up asks the JVM; here over a new connection."""
    simulator = Simulator()
    os.kill(simulator.pid, signal.SIGKILL)
    simulator._gateway._gateway_client.deque.clear()
    with pytest.raises(EnvironmentDied, match="ended with status -9"):
        simulator.score()


def test_one_that_fails_by_itself_says_why_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_javas_place(tmp_path, monkeypatch, "echo 'Unrecognized VM option' >&2; exit 1")
    with pytest.raises(RuntimeError, match="did not start ScienceWorld: Unrecognized VM option"):
        Simulator()


async def test_a_pool_goes_on_after_one_that_was_ended_in_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, killed = java(), tmp_path / "killed"
    in_javas_place(
        tmp_path, monkeypatch, f'[ -e {killed} ] || {{ touch {killed}; kill -KILL $$; }}; exec {real} "$@"'
    )
    async with EnvironmentPool("scienceworld", Options(), tmp_path, workers=1) as pool:
        with pytest.raises(EnvironmentDied):
            await pool.open(BOIL)
        episode = await pool.open(BOIL)
        assert (await episode.step("look around")).valid
    assert killed.exists() and shutil.which("java") == str(tmp_path / "java")
