"""A small household experiment with the real parts: Dagster, vLLM, TRL, ALFWorld, Parquet, DuckDB."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

SMALL = """\
description: the household experiment, as small as it can be
extends: household
iterations: 2
environment: {kind: household, train: 3, seen: 2, unseen: 2, step_limit: 20}
generation: {max_new_tokens: 128}
deliberation: {max_new_tokens: 128}
sampling: {n: 3}
finetuning: {epochs: [1, 1, 1]}
"""
TIMEOUT_S = 800


@dataclass(frozen=True)
class Home:
    """A `$SAND_HOME`, and commands in it."""

    path: Path
    killed_at: int
    """Rollouts that were journalled when the first run was killed."""
    continued: str
    """What the second run printed."""

    def environment(self) -> dict[str, str]:
        return environment(self.path)

    def sand(self, *arguments: str) -> str:
        return sand(self.path, *arguments)


def environment(home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "SAND_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "200",
    }


def sand(home: Path, *arguments: str, timeout: float = TIMEOUT_S) -> str:
    command = [sys.executable, "-m", "sand_dagster.cli", *arguments]
    done = subprocess.run(
        command, env=environment(home), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{arguments} exited {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done.stdout


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Iterations 00 and 01, of which the first run was killed in the middle of its rollouts."""
    path = tmp_path_factory.mktemp("home")
    (path / "experiments").mkdir()
    (path / "experiments" / "small.yaml").write_text(SMALL)
    journal = path / "small" / "rollouts" / "iteration=01" / "journal.jsonl"
    command = [sys.executable, "-m", "sand_dagster.cli", "run", "small", "--until", "01"]
    with (path / "first.log").open("w") as log:
        first = subprocess.Popen(
            command, env=environment(path), stdout=log, stderr=log, start_new_session=True
        )
        deadline = time.monotonic() + TIMEOUT_S
        while len(lines(journal)) < 3 and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = first.poll()
        os.killpg(first.pid, signal.SIGKILL) if ended is None else None
        first.wait()
    assert ended is None, (
        f"the run ended before it could be killed:\n{(path / 'first.log').read_text()[-4000:]}"
    )
    killed_at = len(lines(journal))
    return Home(path, killed_at, sand(path, "run", "small", "--until", "01"))
