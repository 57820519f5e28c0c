"""Test-time search as stages of an experiment, and `sand search`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sand_dagster.artifacts.lineage import Lineage
from sand_dagster.assets import stages_of
from sand_dagster.audit.prompts import prompt_of
from sand_dagster.cli import app
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.jobs.checks import broken_invariants
from tests.assets.pipeline import NAME, Pipeline


def test_only_an_experiment_with_a_section_search_has_its_stages(tmp_path: Path) -> None:
    plain, searching = (load_experiment(name, tmp_path) for name in ("household", "household-search"))
    with_search, without = ([each.name for each in stages_of(e)] for e in (searching, plain))
    assert [name for name in with_search if name not in without] == ["search_episodes", "search_scores"]


def test_a_checkpoint_is_searched_and_its_rewards_stand_beside_its_tokens(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.configure("search: {n: 2, temperature: 0.7}")
    pipeline.materialise(iteration="00")
    assert broken_invariants(pipeline.experiment, pipeline.store, "00") == []
    lineage = Lineage(pipeline.home, NAME)
    episodes = pipeline.store.read("search_episodes", "00")
    assert sorted(episodes["mode"].to_list()) == ["oracle_best_of_n"] * 4 + ["vote"] * 2
    (node,) = lineage.find(episodes["search_episode_id"][0])
    assert prompt_of(lineage, node, 2).agrees
    (score,) = lineage.find(pipeline.store.read("search_scores", "00")["search_score_id"][0])
    parents = {link.parent.table for link in lineage.parents(score)}
    assert parents == {"checkpoints", "search_episodes"}

    monkeypatch.setenv("SAND_HOME", str(pipeline.home))
    for id in (episodes["search_episode_id"][0], score.id):
        story = CliRunner().invoke(app, ["lineage", "why", id]).output
        assert "by oracle_best_of_n with " in story and "It comes from checkpoint " in story
    asked = CliRunner().invoke(app, ["lineage", "scores", episodes["search_episode_id"][0], "--json"])
    assert ("search_scores", score.id) in {(each["table"], each["id"]) for each in json.loads(asked.output)}
    asked = CliRunner().invoke(app, ["search", NAME, "--json"])
    assert asked.exit_code == 0, asked.output
    rows = [row for row in json.loads(asked.output) if (row["split"], row["iteration"]) == ("seen", "00")]
    how = [(row["how"], row["samples"]) for row in rows]
    assert how == [("plain", 1), ("oracle_best_of_n", 1), ("oracle_best_of_n", 2), ("vote", 2)]
    # The scripted model writes 5 tokens a turn, and is asked twice for each with two samples.
    tokens = [row["tokens_per_task"] for row in rows]
    assert tokens[2] == 2 * tokens[1] and tokens[3] == 2 * tokens[0]
    assert [row["prompt_tokens_per_task"] for row in rows] == [2 * each for each in tokens]
