"""`sand bench` leaves what it measured in a file."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from sand_dagster.bench import rollouts
from tests.cli.conftest import Sand


class Report:
    def __init__(self, differences: list[str]) -> None:
        self.differences = differences

    def to_json(self) -> dict[str, Any]:
        return {"max_concurrency": 64, "differences": self.differences}

    def render(self) -> Text:
        return Text("a table")


@pytest.mark.parametrize(("differences", "code"), [([], 0), (["rollout 3"], 1)])
def test_the_figures_are_shown_and_written(
    sand: Sand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, differences: list[str], code: int
) -> None:
    monkeypatch.setattr(rollouts, "run", lambda *_: Report(differences))
    file = tmp_path / "benchmarks" / "rollouts.json"
    done = sand("bench", "rollouts", "--out", str(file))
    assert (done.exit_code, done.stdout) == (code, "a table\n")
    written = json.loads(file.read_text())
    assert written.pop("command").startswith("sand ")
    assert written == {
        "date": date.today().isoformat(),
        "report": {"max_concurrency": 64, "differences": differences},
    }
