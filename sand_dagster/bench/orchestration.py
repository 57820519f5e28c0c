"""The cost of orchestration: a finished iteration is run again with every unit in its journal.

Only Dagster, journals, Parquet and manifests then take time; no engine starts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from rich.text import Text

from sand_dagster.artifacts.store import DATA, MANIFEST
from sand_dagster.experiments.experiment import Experiment

_ITERATION = "01"
_AT_MOST = 0.05


@dataclass(frozen=True, slots=True)
class Orchestration:
    """An iteration's wall time in seconds, of its first run and again with everything journalled."""

    experiment: str
    iteration: str
    seconds: float
    cached_seconds: float

    @property
    def share(self) -> float:
        """The share of orchestration in the iteration's time."""
        return self.cached_seconds / self.seconds

    @property
    def targets(self) -> dict[str, bool]:
        """Which target is met."""
        return {f"orchestration at most {_AT_MOST:.0%}": self.share <= _AT_MOST}

    def to_json(self) -> dict[str, Any]:
        """All figures, for a program."""
        return {**asdict(self), "share": self.share, "targets": self.targets}

    def render(self) -> Text:
        """All figures, for a person."""
        return Text(
            f"Iteration {self.iteration} of {self.experiment}: {self.seconds:.0f} s, with everything "
            f"journalled {self.cached_seconds:.1f} s: orchestration takes {self.share:.1%}."
        )


def measure_orchestration(home: Path, experiment: Experiment) -> Orchestration:
    """Run iteration 01 of `experiment` again, in a copy of `home`.

    Raises:
        ValueError: it has not run in `home`.
    """
    seconds = seconds_of(home, experiment, _ITERATION)
    if seconds is None:
        raise ValueError(
            f"orchestration is measured on a finished iteration: first `sand run {experiment.name} "
            f"--until {_ITERATION}`"
        )
    with tempfile.TemporaryDirectory(prefix="sand-bench-") as folder:
        return Orchestration(experiment.name, _ITERATION, seconds, _cached(home, experiment, Path(folder)))


def seconds_of(home: Path, experiment: Experiment, iteration: str) -> float | None:
    """Wall time of the last run that completed the iteration; None if there is none."""
    folder = home / "dagster"
    if not (folder / "dagster.yaml").exists():
        return None
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        records = instance.get_run_records(
            dg.RunsFilter(
                job_name=experiment.group,
                tags={"dagster/partition": iteration},
                statuses=[dg.DagsterRunStatus.SUCCESS],
            ),
            limit=1,
        )
    if not records or records[0].start_time is None or records[0].end_time is None:
        return None
    return records[0].end_time - records[0].start_time


def _cached(home: Path, experiment: Experiment, copy: Path) -> float:
    """Wall time in a copy of `home` that has the journals and none of the tables."""
    shutil.copytree(home, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("dagster"))
    for name in (DATA, MANIFEST):
        for file in (copy / experiment.name).rglob(name):
            file.unlink()
    subprocess.run(
        [sys.executable, "-m", "sand_dagster.cli", "run", experiment.name, "--until", _ITERATION],
        env={**os.environ, "SAND_HOME": str(copy)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = seconds_of(copy, experiment, _ITERATION)
    assert seconds is not None
    return seconds
