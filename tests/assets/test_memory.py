"""A stage's memory does not grow with its rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_STAGE = """
import asyncio, sys
from pathlib import Path
import polars as pl
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.assets.metadata import describe
from sand_dagster.assets.run import Result
from sand_dagster.rows.candidates import RolloutRow
from sand_dagster.execution.units import Stage, Unit, run_units
from tests.artifacts.rows import row

def peak():
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

def unit(number):
    async def work():
        steps = [{"thought": "", "action": "look", "observation": f"{number:08} " * 650, "valid": True}]
        return [row("rollouts", f"r{number}", candidate_id=f"c{number}", steps=steps, reward=1.0)], "done"
    return Unit(str(number), work)

def stage(iteration, units):
    with store.writing("rollouts", iteration, inputs={}, identity=Identity(), seed=0, run_id="r") as writer:
        here = Stage(writer.journal, 40, lambda *_: None, iteration, 0)
        finished = asyncio.run(run_units(here, RolloutRow, (unit(n) for n in range(units)), units))
        result = Result.of(finished, average_reward=pl.col("reward").mean())
        manifest = writer.commit(result.rows, result.counts)
    describe(TABLES["rollouts"], store.scan("rollouts", iteration), manifest)
    assert manifest.counts == {"done": units, "average_reward": 1.0}
    stored = rows_of(store, RolloutRow, iteration)
    rollouts = stored.by("candidate_id")
    for number, row in enumerate(stored):
        assert rollouts[f"c{number}"] == row

store = ArtifactStore(Path(sys.argv[1]), "x")
stage("00", 1500)
before = peak()
stage("01", 10000)
print(peak() - before, (store.folder("rollouts", "01") / "journal.jsonl").stat().st_size / 2**20)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_stages_memory_does_not_grow_with_its_rows(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", _STAGE, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    grown, rows = map(float, ran.stdout.split())
    assert rows > 50
    # Allocators keep a part of the memory that was used; rows in memory take four times their size.
    assert grown < rows
