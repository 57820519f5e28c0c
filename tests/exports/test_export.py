"""`sand export`: every format is what its readers expect, and importing trajectories gives the same rows."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.models.model_folder import model_id
from sand_dagster.rows.evaluation import EpisodeRow, ScoreRow
from sand_dagster.rows.experts import ImportRow
from sand_dagster.rows.models import CheckpointRow
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow, ExpertRow, StepRow
from tests.artifacts.experiment import two_iterations, write
from tests.artifacts.rows import row
from tests.assets.pipeline import Pipeline
from tests.exports.conftest import Sand

AGAIN = """\
description: the exported trajectories as expert data
extends: small
environment:
  kind: alfworld
  games: {games}
  experts: {experts}
  limits: {{seen: 1, unseen: 1}}
  keep: all
"""
TABLES: dict[str, type[StepRow]] = {kind.table: kind for kind in (DemonstrationRow, DeliberationRow)}


def _texts(rows: Any) -> list[tuple[Any, ...]]:
    return [
        (row.trajectory_id, row.index, row.instruction, row.thought, row.action, row.observation, row.reward)
        for row in rows
    ]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("form", ["eto", "messages", "hf"])
def test_importing_what_was_exported_gives_the_same_rows(
    pipeline: Pipeline, sand: Sand, tmp_path: Path, form: str, table: str
) -> None:
    out = tmp_path / "out größe"
    named = ("--table", table) if table == "expert_trajectories" else ()  # the other is the default
    done = sand("export", "small", "1", "--format", form, "--out", out, *named)
    assert done.exit_code == 0, done.output
    kind = TABLES[table]
    rows = list(rows_of(pipeline.store, kind, "01"))
    assert f"trajectories of small {kind.table} 01, {len(rows)} steps" in done.stdout

    name = f"again-{form}-{table.replace('_', '-')}"
    (games,) = (path for path in (pipeline.home / "games").iterdir() if path.is_dir())
    (pipeline.home / "experiments" / f"{name}.yaml").write_text(AGAIN.format(games=games, experts=out))
    again = Pipeline(pipeline.home, pipeline.instance, name)
    again.materialise("tasks", "expert_import", "expert_data")
    assert _texts(rows_of(again.store, ExpertRow, None)) == _texts(rows)
    (imported,) = rows_of(again.store, ImportRow, None)
    assert imported.kept and imported.differs_at is None and imported.recorded_reward == imported.reward
    (pipeline.home / "experiments" / f"{name}.yaml").unlink()


def test_what_was_imported_is_exported_under_the_id_that_it_had(
    pipeline: Pipeline, sand: Sand, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    store = _by_hand(home)
    for line in rows_of(store, ImportRow, None):
        kept = {"record_id": "alfworld_7", "trajectory_id": "e", "task_id": "t0", "kept": True}
        write(store, "expert_import", None, [replace(line, **kept)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAND_HOME", str(home))
        done = sand("export", "household", "01", "--format", "eto", "--out", tmp_path / "a.json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads((tmp_path / "a.json").read_text())
    assert (found["id"], found["task_id"], found["trajectory_id"]) == ("alfworld_7", "t0", "e")
    assert [step["step_id"] for step in found["steps"]] == ["s10", "s11"]


def _by_hand(home: Path) -> ArtifactStore:
    store = two_iterations(home)
    write(store, "tasks", None, [row("tasks", "t0", split="train", spec="{}")])
    return store


def test_the_data_set_opens_with_datasets_and_its_card_names_every_version(
    pipeline: Pipeline, sand: Sand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasets import load_dataset
    from huggingface_hub import DatasetCard

    out = tmp_path / "set"
    assert sand("export", "small", "01", "--format", "hf", "--out", out).exit_code == 0
    loaded = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    rows = list(rows_of(pipeline.store, DeliberationRow, "01"))
    assert loaded.num_rows == len({each.trajectory_id for each in rows})
    assert loaded[0]["messages"][-1]["role"] == "assistant"
    assert [step["step_id"] for step in loaded[0]["steps"]] == [each.step_id for each in rows]
    card = DatasetCard.load(out / "README.md", repo_type="dataset")
    assert card.data.configs[0]["data_files"][0]["path"] == "data/train-00000-of-00001.parquet"
    lineage = json.loads((out / "lineage.json").read_text())
    made_from = {(each["table"], each["iteration"]): each["data_version"] for each in lineage["made_from"]}
    for table, iteration in (("critiques", "01"), ("checkpoints", "00"), ("tasks", None)):
        manifest = pipeline.store.require(table, iteration)
        assert made_from[table, iteration] == manifest.content_hash
        assert manifest.content_hash in card.text
    assert ("checkpoints", "01") not in made_from and ("eval_scores", "00") not in made_from
    assert str(pipeline.home) not in card.content + (out / "lineage.json").read_text()


def test_the_checkpoint_is_the_same_model_with_a_card_of_its_scores_and_lineage(
    pipeline: Pipeline, sand: Sand, tmp_path: Path
) -> None:
    from huggingface_hub import ModelCard

    out = tmp_path / "new" / "model"
    folder = pipeline.home / "small/checkpoints/iteration=01/model"
    (folder / "pytorch_model.bin").write_bytes(b"a pickle, which could run code")
    done = sand("export", "small", "01", "--format", "model", "--out", out)
    (folder / "pytorch_model.bin").unlink()
    assert done.exit_code == 0, done.output
    (made,) = rows_of(pipeline.store, CheckpointRow, "01")
    assert model_id(out) == made.model_id
    assert not (out / "pytorch_model.bin").exists() and (out / "model.safetensors").is_file()
    card = ModelCard.load(out / "README.md")
    scores = {score.split: score.average_reward for score in rows_of(pipeline.store, ScoreRow, "01")}
    assert {each.dataset_split: each.metric_value for each in card.data.eval_results} == scores
    assert made.model_id in card.text and made.checkpoint_id in card.text
    for table in ("checkpoints", "deliberation_trajectories", "expert_trajectories", "eval_scores"):
        assert pipeline.store.require(table, "01").content_hash in card.text
    assert '"finetuning.epochs": 1' in card.text
    assert str(pipeline.home) not in card.content + (out / "lineage.json").read_text()
    lineage = json.loads((out / "lineage.json").read_text())
    assert lineage["base_model"] == "base" and lineage["files"].keys() == {"config.json", "model.safetensors"}


def test_a_damaged_checkpoint_is_refused_and_nothing_is_left(
    pipeline: Pipeline, sand: Sand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(pipeline.home, home)
    monkeypatch.setenv("SAND_HOME", str(home))
    (home / "small/checkpoints/iteration=01/model/model.safetensors").write_text("another")
    done = sand("export", "small", "01", "--format", "model", "--out", tmp_path / "model")
    assert done.exit_code == 1 and "is damaged" in done.stderr, done.output
    assert not (tmp_path / "model").exists() and not (tmp_path / "model.writing").exists()


def test_episodes_open_in_inspect(pipeline: Pipeline, sand: Sand, tmp_path: Path) -> None:
    log = pytest.importorskip("inspect_ai.log", reason="the extra `inspect` is not installed")
    out = tmp_path / "logs"
    done = sand("export", "small", "01", "--format", "inspect", "--out", out)
    assert done.exit_code == 0 and f"inspect view --log-dir {out}" in done.stdout, done.output
    episodes = {episode.episode_id: episode for episode in rows_of(pipeline.store, EpisodeRow, "01")}
    scores = {score.split: score for score in rows_of(pipeline.store, ScoreRow, "01")}
    logs = [log.read_eval_log(info) for info in log.list_eval_logs(str(out))]
    assert {each.eval.task for each in logs} == {"small-seen", "small-unseen"}
    for each in logs:
        score = scores[each.eval.task.removeprefix("small-")]
        assert each.status == "success" and each.eval.model == "small-01"
        assert each.results.scores[0].metrics["average_reward"].value == score.average_reward
        assert (
            each.eval.metadata["data_version"] == pipeline.store.require("eval_episodes", "01").content_hash
        )
        for sample in each.samples:
            episode = episodes.pop(sample.uuid)
            said = [message.text for message in sample.messages if message.role == "assistant"]
            assert [turn.action in text for turn, text in zip(episode.steps, said, strict=True)]
            assert sample.scores["reward"].value == episode.reward and sample.id == episode.task_id
            assert sample.model_usage["small-01"].output_tokens == episode.completion_tokens
    assert not episodes


def test_inspect_is_also_a_flag(sand: Sand, tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai.log", reason="the extra `inspect` is not installed")
    done = sand("export", "small", "01", "--inspect", "--out", tmp_path / "logs")
    assert done.exit_code == 0 and f"inspect view --log-dir {tmp_path / 'logs'}" in done.stdout, done.output
    for options, said in (
        ((), "--format eto, messages, hf, model, inspect"),
        (("--inspect", "--format", "hf"), "give one"),
    ):
        refused = sand("export", "small", "01", *options, "--out", tmp_path / "other")
        assert refused.exit_code == 2 and said in refused.stderr, refused.output


def test_without_inspect_it_says_what_to_install(
    sand: Sand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sand_dagster.exports.inspect_log.find_spec", lambda name: None)
    done = sand("export", "small", "01", "--format", "inspect", "--out", tmp_path / "logs")
    assert done.exit_code == 1 and "pip install 'sand-dagster[inspect]'" in done.stderr
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("form", ["eto", "messages", "hf", "model", "inspect"])
def test_an_iteration_that_was_not_made_is_named(sand: Sand, tmp_path: Path, form: str) -> None:
    if form == "inspect":
        pytest.importorskip("inspect_ai.log", reason="the extra `inspect` is not installed")
    done = sand("export", "small", "07", "--format", form, "--out", tmp_path / "new" / "folder" / "out")
    assert done.exit_code == 1 and "for iteration 07 is not there" in done.stderr, done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["eto", "messages", "hf", "model"])
@pytest.mark.parametrize("taken", ["file", "folder", "dangling"])
def test_what_is_there_is_never_replaced(sand: Sand, tmp_path: Path, form: str, taken: str) -> None:
    out = tmp_path / "out"
    match taken:
        case "file":
            out.write_text("mine")
        case "folder":
            out.mkdir()
        case _:
            out.symlink_to(tmp_path / "elsewhere")
    done = sand("export", "small", "01", "--format", form, "--out", out)
    assert done.exit_code == 1 and f"{out} is there already" in done.stderr, done.output
    assert list(tmp_path.iterdir()) == [out]
    assert taken != "file" or out.read_text() == "mine"


def test_a_place_below_a_file_and_a_full_disk_are_one_message(
    sand: Sand, tmp_path: Path, small_disk: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = sand("export", "small", "01", "--format", "hf", "--out", tmp_path / "file" / "set")
    assert done.exit_code == 1 and "is not a folder. Give another --out" in done.stderr, done.output
    (small_disk / "filler").write_bytes(b"x" * 65_536)
    for form in ("hf", "eto"):
        done = sand("export", "small", "01", "--format", form, "--out", small_disk / "set")
        assert done.exit_code == 1 and "no space left on the disk" in done.stderr, done.output
        assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody", "01", "--format", "eto"), 2, "no experiment 'nobody'"),
        (("../etc", "01", "--format", "eto"), 2, "'../etc'"),
        (("small", "x", "--format", "eto"), 2, "an iteration is a number such as 01"),
        (("small", "01", "--format", "csv"), 2, "'csv' is not one of"),
        (
            ("small", "01", "--format", "model", "--table", "expert_trajectories"),
            2,
            "belongs to trajectories",
        ),
    ],
)
def test_a_wrong_request_is_one_message(
    sand: Sand, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = sand("export", *arguments, "--out", tmp_path / "out")
    assert (done.exit_code, said in done.stderr) == (code, True), done.output
    assert "Traceback" not in done.output and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["eto", "messages", "hf"])
def test_an_empty_table_is_an_empty_export(
    sand: Sand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    home = tmp_path / "home"
    write(_by_hand(home), "deliberation_trajectories", "01", [])
    monkeypatch.setenv("SAND_HOME", str(home))
    done = sand("export", "household", "01", "--format", form, "--out", tmp_path / "out")
    assert done.exit_code == 0 and "0 trajectories" in done.stdout, done.output
