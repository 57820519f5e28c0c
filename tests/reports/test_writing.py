"""The folder of a report: whole, the same for the same tables, and never in place of other files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets.report import report_of
from sand_dagster.cli import app
from sand_dagster.jobs.plan import plan
from sand_dagster.reports.pieces import PIECE_BYTES
from sand_dagster.reports.places import report_folder
from sand_dagster.reports.writing import NotAReport, write_report, write_report_about
from sand_dagster.resources.artifacts import Artifacts
from tests.artifacts.experiment import write
from tests.assets.pipeline import NAME, Pipeline
from tests.reports.conftest import MARKUP
from tests.reports.episodes import episode, subject, turn

SHOWN = {
    "expert_trajectories": "step_id",
    "deliberation_trajectories": "step_id",
    "candidate_actions": "candidate_id",
    "rollouts": "rollout_id",
    "critiques": "critique_id",
    "eval_episodes": "episode_id",
}
"""The tables whose rows are in the reader."""


def data(page: Path, name: str) -> Any:
    """What the script `name` hands to the page."""
    text = (page.parent / "data" / f"{name}.js").read_text(encoding="utf-8")
    body = re.fullmatch(rf'sandData\("{name}",(.*)\);\n', text, re.DOTALL)
    assert body is not None
    return json.loads(body[1])


def index_of(page: Path) -> dict[str, Any]:
    found = re.search(r'data-index="(\w+)"', page.read_text(encoding="utf-8"))
    assert found is not None
    index: dict[str, Any] = data(page, found[1])
    return index


def test_every_row_is_found_and_no_text_is_cut(page: Path, pipeline: Pipeline) -> None:
    index = index_of(page)
    by_shard = {first: data(page, name) for first, name in index["ids"].items()}
    known = {id for shard in by_shard.values() for id in shard} | set(index["episodes"]["id"])
    everything = json.dumps([data(page, name) for name in index["pieces"]], ensure_ascii=False)
    for table, key in SHOWN.items():
        for iteration in ("00", "01"):
            for row in pipeline.store.read(table, iteration).iter_rows(named=True):
                assert row[key] in known, f"{table} {row[key]}"
                for name in ("thought", "text", "critique", "observation", "action"):
                    assert json.dumps(row.get(name, ""), ensure_ascii=False)[1:-1] in everything
                for played in row.get("steps", []):
                    assert json.dumps(played["observation"], ensure_ascii=False) in everything
    assert set(TABLES) > set(SHOWN)


def test_a_row_leads_to_the_piece_of_its_task(page: Path, pipeline: Pipeline) -> None:
    index = index_of(page)
    critique = pipeline.store.read("critiques", "01").row(0, named=True)
    task = data(page, index["ids"][critique["critique_id"][0]])[critique["critique_id"]]
    piece = data(page, index["pieces"][index["tasks"]["piece"][task]])
    (demonstration,) = [
        each for each in piece[str(task)]["demonstrations"] if index["runs"][each["run"]][1] == "01"
    ]
    (candidate,) = [
        candidate
        for step in demonstration["steps"]
        for candidate in step["candidates"]
        if candidate["id"] == critique["candidate_id"]
    ]
    assert candidate["critique"]["critique"] == critique["critique"] and MARKUP in critique["critique"]
    assert candidate["rollout"]["turns"]


def test_what_a_model_wrote_is_no_markup_of_the_page(page: Path) -> None:
    assert MARKUP not in page.read_text(encoding="utf-8")
    assert "taken over" not in page.read_text(encoding="utf-8")
    # The page's own scripts use no function that reads text as markup.
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page.read_text())


def test_what_stands_in_backticks_is_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    notes = re.findall(r'<p class="note">(.*?)</p>', text)
    assert any("<code>difficulty by</code>" in note for note in notes)
    assert not any("`" in note or "&lt;code" in note for note in notes)


def test_the_index_of_10000_episodes_is_small_and_no_piece_is_large(tmp_path: Path) -> None:
    turns = [turn(f"go to cabinet {n}", thought="I think of it. " * 20) for n in range(20)]
    about = subject(
        tmp_path,
        **{f"k0{k}": [episode(n, *turns, iteration=f"0{k}") for n in range(5000)] for k in (0, 1)},
    )
    page = write_report_about([about], tmp_path / "report", tmp_path)
    index = index_of(page)
    assert len(index["episodes"]["id"]) == 10_000
    sizes = {path.stem: path.stat().st_size for path in (page.parent / "data").iterdir()}
    assert sum(sizes[name] for name in index["pieces"]) > 50_000_000
    assert max(sizes[name] for name in index["pieces"]) < 1.5 * PIECE_BYTES
    assert max(size for name, size in sizes.items() if name not in index["pieces"]) < 2_500_000
    assert page.stat().st_size < 1_000_000


def test_the_same_tables_give_the_same_report(page: Path, pipeline: Pipeline, tmp_path: Path) -> None:
    again = write_report([NAME], tmp_path / "again", pipeline.home)
    files = {path.relative_to(page.parent) for path in page.parent.rglob("*") if path.is_file()}
    assert files == {path.relative_to(again.parent) for path in again.parent.rglob("*") if path.is_file()}
    for file in files:
        assert (page.parent / file).read_bytes() == (again.parent / file).read_bytes(), file


def test_a_report_takes_the_place_of_an_earlier_one_and_of_nothing_else(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    about = subject(tmp_path / "home", k00=[episode(1, turn("look"))])
    first = write_report_about([about], tmp_path / "report", tmp_path / "home")
    before = set((first.parent / "data").iterdir())
    write_report([NAME], tmp_path / "report", pipeline.home)
    assert not before & set((first.parent / "data").iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("my page")
    with pytest.raises(NotAReport, match="new or empty folder"):
        write_report([NAME], tmp_path / "mine", pipeline.home)
    assert (tmp_path / "mine" / "index.html").read_text() == "my page"


def test_an_experiment_without_results_has_a_report_that_says_so(tmp_path: Path) -> None:
    page = write_report(["household"], tmp_path / "report", tmp_path)
    assert "nothing is evaluated yet" in page.read_text()
    assert "household has no evaluated iteration yet" in (tmp_path / "report" / "report.md").read_text()


def test_an_iteration_that_evaluates_no_task_is_left_out(tmp_path: Path) -> None:
    write(ArtifactStore(tmp_path, "household"), "eval_episodes", "00", [])
    page = write_report(["household"], tmp_path / "report", tmp_path)
    assert "nothing is evaluated yet" in page.read_text()


def test_the_command_writes_it_and_says_where(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAND_HOME", str(pipeline.home))
    said = CliRunner().invoke(app, ["report", NAME, "--out", str(tmp_path / "out")])
    assert said.exit_code == 0, said.output
    assert said.output.splitlines() == [str(tmp_path / "out" / name) for name in ("index.html", "report.md")]
    assert "needs `--out FOLDER`" in CliRunner().invoke(app, ["report", NAME, "household"]).output
    assert "no experiment" in CliRunner().invoke(app, ["report", "nonesuch"]).output


def test_the_asset_writes_it_and_makes_nothing_stale(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAND_HOME", str(pipeline.home))
    before = plan(pipeline.experiment, pipeline.store, pipeline.instance, "01", counted=False)
    asset = report_of(pipeline.experiment, dg.StaticPartitionsDefinition(pipeline.experiment.partitions))
    done = dg.materialize(
        [asset], partition_key="01", instance=pipeline.instance, resources={"artifacts": Artifacts()}
    )
    assert done.success
    (made,) = done.asset_materializations_for_node(asset.node_def.name)
    page = report_folder(pipeline.home, NAME) / "index.html"
    assert made.metadata["page"].value == str(page) and page.is_file()
    assert made.metadata["link"].value == f"http://127.0.0.1:8765/{NAME}/"
    assert "Average reward by iteration" in str(made.metadata["scores"].value)
    assert plan(pipeline.experiment, pipeline.store, pipeline.instance, "01", counted=False) == before
