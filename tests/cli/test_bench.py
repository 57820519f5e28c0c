"""`sand bench` writes its figures to a file."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.bench import rollouts
from tests.cli.conftest import Sand
from tests.conftest import disk_full
from tests.docs.blocks import ROOT


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
    monkeypatch.setattr("sys.argv", ["sand", "bench", "rollouts", "--out", str(file)])
    done = sand("bench", "rollouts", "--out", str(file))
    assert (done.exit_code, done.stdout) == (code, "a table\n")
    written = json.loads(file.read_text())
    assert written["command"].startswith("sand ") and "--out" not in written["command"]
    assert written["date"] == date.today().isoformat()
    assert written["machine"]["cores"] and written["machine"]["load"] and written["versions"]["dagster"]
    assert written["report"] == {"max_concurrency": 64, "differences": differences}


def test_a_finished_experiment_is_recorded_with_what_its_stages_made(sand: Sand, home: Path) -> None:
    file = home / "scores.json"
    done = sand("bench", "scores", "household", "--out", str(file))
    assert done.exit_code == 0, done.output
    (*_, last) = json.loads(file.read_text())["report"]["iterations"]
    store = ArtifactStore(home, "household")
    scores = store.read("eval_scores", last["iteration"])
    assert [s["average_reward"] for s in last["scores"]] == scores["average_reward"].to_list()
    steps = store.read("deliberation_trajectories", last["iteration"])
    assert sum(last["outcomes"].values()) == last["steps"] == len(steps)
    assert last["seconds"] is None  # this home has no Dagster instance


@pytest.mark.parametrize("option", ["--page", "--out"])
def test_what_does_not_fit_on_the_disk_leaves_the_old_file(
    sand: Sand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr(rollouts, "run", lambda *_: Report([]))
    monkeypatch.setattr("sand_dagster.files._sync", disk_full)
    file = tmp_path / "file"
    file.write_text("the old one")
    measuring = ("render", str(ROOT / "benchmarks")) if option == "--page" else ("rollouts",)
    done = sand("bench", *measuring, option, str(file))
    assert done.exit_code == 1 and "no space left on the disk" in done.output
    assert file.read_text() == "the old one" and not list(tmp_path.glob("*.writing"))


def test_the_page_is_written_from_the_files(sand: Sand, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    done = sand("bench", "render", str(ROOT / "benchmarks"), "--page", str(page))
    assert done.exit_code == 0, done.output
    assert page.read_text(encoding="utf-8") == (ROOT / "docs" / "measurements.md").read_text(encoding="utf-8")
    done = sand("bench", "render", str(tmp_path / "nothing"), "--page", str(page))
    assert done.exit_code == 1 and "holds no measurement" in done.output
