"""Prompts are rebuilt exactly, and differences are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest

from sand_dagster.artifacts.lineage import Lineage
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.audit.prompts import PROMPTED, NoPrompt, prompt_of
from sand_dagster.errors import TornModel
from sand_dagster.fingerprints import file_digest
from sand_dagster.prompts import figures
from tests.assets.pipeline import NAME, Pipeline, finished

ELSEWHERE = {"explorations", "search_episodes"}
"""Tables of other experiments: their prompts are in `tests/assets/test_exploring.py` and `test_search.py`."""


@pytest.mark.parametrize("table", [table for table in PROMPTED if table not in ELSEWHERE])
def test_every_prompt_is_the_one_that_was_given(small: Pipeline, table: str) -> None:
    lineage = Lineage(small.home, NAME)
    asked = 0
    for row in small.store.read(table, "01").iter_rows(named=True):
        try:
            prompt = prompt_of(lineage, lineage.node(row[TABLES[table].key], table, "01"))
        except NoPrompt:
            assert table in ("rollouts", "deliberation_trajectories")
            continue
        assert prompt.agrees, prompt.verdict()
        asked += 1
    assert asked


def test_a_prompt_with_the_full_task_instruction_is_rebuilt_too(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with finished(tmp_path_factory.mktemp("full"), "task_instruction: full\n") as pipeline:
        lineage = Lineage(pipeline.home, NAME)
        for table in ("critiques", "deliberation_trajectories"):
            row = pipeline.store.read(table, "01").row(0, named=True)
            prompt = prompt_of(lineage, lineage.node(row[TABLES[table].key], table, "01"))
            assert prompt.agrees, prompt.verdict()
            assert "The available actions are:" in prompt.messages[0]["content"]


def test_a_turn_sees_the_turns_before_it(small: Pipeline) -> None:
    lineage = Lineage(small.home, NAME)
    episode = small.store.read("eval_episodes", "01").row(0, named=True)
    node = lineage.node(episode["episode_id"])
    first, third = (prompt_of(lineage, node, turn).messages for turn in (1, 3))
    assert len(first) == 1 and episode["instruction"] in first[0]["content"]
    assert third[: len(first)] == first and len(third) == 5
    assert third[-1]["content"] == f"Observation: {episode['steps'][1]['observation']}"
    with pytest.raises(NoPrompt, match="turn 99 was requested"):
        prompt_of(lineage, node, 99)


def test_another_text_is_distinguished_from_the_one_that_was_given(
    small: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineage = Lineage(small.home, NAME)
    row = small.store.read("critiques", "01").row(0, named=True)
    was = figures.template("critique")
    monkeypatch.setattr(figures, "template", lambda name: was + " now")
    prompt = prompt_of(lineage, lineage.node(row["critique_id"]))
    assert not prompt.agrees and "NOT the one that was given" in prompt.verdict()


def test_without_its_journal_a_turn_is_not_checked_and_the_verdict_says_so(
    small: Pipeline, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(small.home, home)
    (home / NAME / "rollouts/iteration=01/journal.jsonl").unlink()
    lineage = Lineage(home, NAME)
    rows = small.store.read("rollouts", "01").iter_rows(named=True)
    row = next(row for row in rows if len(row["steps"]) > 1)
    prompt = prompt_of(lineage, lineage.node(row["rollout_id"]))
    assert not prompt.agrees
    assert prompt.verdict() == "rebuilt, not checked: the stage's journal was removed"


def test_the_tokenizer_of_a_checkpoint_outside_the_home_is_not_read(small: Pipeline, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(small.home, home)
    store = ArtifactStore(home, NAME)
    folder, manifest = store.folder("checkpoints", "01"), store.require("checkpoints", "01")
    forged = store.read("checkpoints", "01").with_columns(folder=pl.lit("../outside"))
    forged.write_parquet(folder / "data.parquet")
    sha256 = file_digest(folder / "data.parquet")
    manifest.model_copy(update={"parquet_sha256": sha256}).save(folder / "manifest.json")
    lineage = Lineage(home, NAME)
    episode = small.store.read("eval_episodes", "01")["episode_id"][0]
    with pytest.raises(TornModel, match=r"\.\./outside .* outside \$SAND_HOME"):
        prompt_of(lineage, lineage.node(episode))


def test_a_row_that_no_model_wrote_has_no_prompt(small: Pipeline) -> None:
    lineage = Lineage(small.home, NAME)
    task = small.store.read("tasks", None)["task_id"][0]
    with pytest.raises(NoPrompt, match="no model writes rows of tasks"):
        prompt_of(lineage, lineage.node(task))
