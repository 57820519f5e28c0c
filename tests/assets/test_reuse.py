"""Units in a journal are reused only if nothing that decides them has changed."""

from __future__ import annotations

import json

import pytest

from tests.assets.pipeline import Pipeline

UNITS = {"candidate_actions", "rollouts", "critiques", "deliberation_trajectories", "eval_episodes"}


def test_all_stages_have_rows_and_a_second_run_asks_no_model(pipeline: Pipeline) -> None:
    for table in UNITS:
        assert pipeline.store.read(table, "01").height
    for stage in (*UNITS, "checkpoints"):
        before = pipeline.store.require(stage, "01").content_hash
        assert pipeline.materialise(stage, iteration="01") == []
        assert pipeline.store.require(stage, "01").content_hash == before


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        ("protocol: eto", {"candidate_actions", "rollouts", "eval_episodes"}),
        ("generation: {max_new_tokens: 301}", {"candidate_actions", "rollouts", "eval_episodes"}),
        ("critiques: {max_new_tokens: 99}", {"critiques"}),
        ("sampling: {n: 3}", {"candidate_actions"}),
        ("finetuning: {chat_template: qwen-2.5}", {*UNITS, "checkpoints"}),
    ],
)
def test_a_changed_setting_asks_the_model_again(pipeline: Pipeline, change: str, stages: set[str]) -> None:
    pipeline.configure(change)
    for stage in ("eval_episodes", "checkpoints", "deliberation_trajectories", "critiques", "rollouts"):
        assert bool(pipeline.materialise(stage, iteration="01")) == (stage in stages), stage
    assert bool(pipeline.materialise("candidate_actions", iteration="01")) == ("candidate_actions" in stages)


def test_another_game_under_the_same_task_is_played_again(pipeline: Pipeline) -> None:
    (task,) = pipeline.store.read("tasks", None).filter(split="train").to_dicts()
    (game,) = pipeline.home.glob(f"games/*/{json.loads(task['spec'])['game']}")
    game.write_text(game.read_text() + " ")
    before = pipeline.store.require("tasks", None)
    pipeline.materialise("tasks")
    after = pipeline.store.require("tasks", None)
    # The generator made the changed game again, so nothing has changed.
    assert after.content_hash == before.content_hash
    assert pipeline.materialise("rollouts", iteration="01") == []


def test_fresh_does_the_units_again_and_gives_the_same_rows(pipeline: Pipeline) -> None:
    before = pipeline.store.require("critiques", "01").content_hash
    assert pipeline.materialise("critiques", iteration="01", fresh=True)
    assert pipeline.store.require("critiques", "01").content_hash == before


def test_a_limit_tries_a_few_units_keeps_them_and_commits_nothing(pipeline: Pipeline) -> None:
    pipeline.configure("critiques: {max_new_tokens: 99}")
    before = pipeline.store.require("critiques", "01")
    total = before.rows
    assert len(pipeline.materialise("critiques", iteration="01", limit=2)) == 2 < total
    assert pipeline.store.require("critiques", "01") == before
    assert len(pipeline.materialise("critiques", iteration="01")) == total - 2
