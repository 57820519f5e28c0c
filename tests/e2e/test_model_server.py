"""The household experiment on vLLM's own servers, one of which is killed: the rows of engines in process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.resources.model_server import LOGS
from tests.e2e.conftest import SMALL, Home, environment, lines

TABLES = ("candidate_actions", "rollouts", "critiques", "deliberation_trajectories", "eval_episodes")
TIMEOUT_S = 2400


@pytest.mark.slow
@pytest.mark.timeout(2 * TIMEOUT_S)
def test_two_servers_one_killed_give_the_rows_of_engines_in_process(home: Home, tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "small.yaml").write_text(SMALL)
    variables = environment(tmp_path) | {"SAND_MODEL_SERVER": "local", "SAND_SERVER_COPIES": "2"}
    command = [sys.executable, "-m", "sand_dagster.cli", "run", "small", "--until", "01"]
    log = tmp_path / "run.log"
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=variables, stdout=output, stderr=output) as run,
    ):
        try:
            _kill_the_policys_server(tmp_path, run, log)
            assert run.wait(TIMEOUT_S) == 0, log.read_text()[-4000:]
        finally:
            run.terminate()

    ours, theirs = (ArtifactStore(path, "small") for path in (tmp_path, home.path))
    for table in TABLES:
        assert ours.require(table, "01").content_hash == theirs.require(table, "01").content_hash, table
    for file in (tmp_path / LOGS).glob("*.log"):
        for server in _servers(file):
            assert not Path(f"/proc/{server}").exists(), "the servers ended with the run"


def _kill_the_policys_server(home: Path, run: subprocess.Popen[bytes], log: Path) -> None:
    """SIGKILL one of the policy's servers in the middle of the rollouts."""
    journal = home / "small" / "rollouts" / "iteration=01" / "journal.jsonl"
    deadline = time.monotonic() + TIMEOUT_S
    while len(lines(journal)) < 3 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.poll() is None, log.read_text()[-4000:]
    (policy,) = ArtifactStore(home, "small").read("policy", "01")["checkpoint_id"]
    (server,) = _servers(home / LOGS / f"{policy}-0.log")
    os.kill(server, signal.SIGKILL)


def _servers(log: Path) -> set[int]:
    return set(map(int, re.findall(r"Started server process \[(\d+)\]", log.read_text())))
