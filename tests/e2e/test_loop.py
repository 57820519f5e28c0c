"""The loop end to end: killed, continued, repeated, re-run in part, and traced."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from sand_dagster.artifacts.lineage import Lineage
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.orphans import orphans
from sand_dagster.artifacts.schemas import TABLES, Table
from sand_dagster.artifacts.sql import Database
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets import stages_of
from sand_dagster.experiments.loading import load_experiment
from tests.e2e.conftest import Home, lines
from toy_alfworld.model import weights

pytestmark = pytest.mark.timeout(1500)


def _store(home: Home) -> ArtifactStore:
    return ArtifactStore(home.path, "small")


def _tables(home: Home) -> dict[str, Table]:
    """Those that the experiment has: others have explorations, or test-time search."""
    return {stage.name: TABLES[stage.name] for stage in stages_of(load_experiment("small", home.path))}


def _manifests(home: Home, iteration: str) -> dict[str, Manifest]:
    store = _store(home)
    return {
        name: store.require(name, iteration if table.partitioned else None)
        for name, table in _tables(home).items()
    }


def test_a_killed_run_continues_and_repeats_nothing(home: Home) -> None:
    assert "had been killed" in home.continued
    journal = home.path / "small" / "rollouts" / "iteration=01" / "journal.jsonl"
    keys = Counter(json.loads(line)["key"] for line in lines(journal))
    assert len(keys) >= home.killed_at >= 3
    assert set(keys.values()) == {1}


def test_every_asset_of_iteration_01_has_rows_and_the_counts_tie_up(home: Home) -> None:
    store = _store(home)
    for name, table in _tables(home).items():
        assert store.read(name, "01" if table.partitioned else None).height, name
    candidates = store.read("candidate_actions", "01")
    deliberating = candidates.filter(pl.col("deliberates"))
    assert deliberating.height > 0
    assert store.read("rollouts", "01").height == deliberating.height
    assert store.read("critiques", "01").height == deliberating.height
    steps = store.read("deliberation_trajectories", "01")
    assert steps.height == store.read("expert_trajectories", "01").height
    assert set(steps["origin"]) == {"expert"}
    assert "kept" in set(steps["outcome"]) and "ok" in set(steps["outcome"])


def test_iteration_00_is_behaviour_initialisation(home: Home) -> None:
    store = _store(home)
    assert store.read("candidate_actions", "00").is_empty()
    assert store.read("policy", "00")["role"].to_list() == ["base"]
    assert (
        store.read("policy", "01")["checkpoint_id"].to_list()
        == store.read("checkpoints", "00")["checkpoint_id"].to_list()
    )


def test_scores_are_printed_for_both_iterations_and_splits(home: Home) -> None:
    scores = json.loads(home.sand("scores", "small", "--json"))
    assert [(row["iteration"], row["split"], row["tasks"]) for row in scores] == [
        (iteration, split, 2) for iteration in ("00", "01") for split in ("seen", "unseen")
    ]
    assert all(0 <= row["average_reward"] <= 1 for row in scores)


def test_a_complete_run_does_nothing_and_says_so(home: Home) -> None:
    before = _manifests(home, "01")
    printed = home.sand("run", "small", "--until", "01")
    assert "Iteration 00 of small is complete." in printed
    assert "Iteration 01 of small is complete." in printed
    assert _manifests(home, "01") == before


def test_a_checkpoint_is_an_ordinary_hugging_face_folder(home: Home) -> None:
    (checkpoint,) = _store(home).read("checkpoints", "01").to_dicts()
    folder = home.path / checkpoint["folder"]
    assert {file["file"] for file in checkpoint["files"]} >= {"model.safetensors", "config.json"}
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template
    assert model.config.vocab_size >= len(tokenizer)
    assert checkpoint["loss_curve"][0]["step"] == 1


def test_one_asset_materialised_alone_leaves_the_others_as_they_are(home: Home) -> None:
    before = _manifests(home, "01")
    materialize = [sys.executable, "-m", "dagster", "asset", "materialize"]
    subprocess.run(
        [
            *materialize,
            "-m",
            "sand_dagster.definitions",
            "--select",
            'key:"small/critiques"',
            "--partition",
            "01",
        ],
        env=home.environment(),
        check=True,
        capture_output=True,
        timeout=600,
    )
    after = _manifests(home, "01")
    assert after["critiques"].run_id != before["critiques"].run_id
    assert after["critiques"].content_hash == before["critiques"].content_hash
    del before["critiques"], after["critiques"]
    assert after == before


def test_a_score_is_traced_to_the_experts_steps_the_rollouts_and_the_base_model(home: Home) -> None:
    lineage = Lineage(home.path, "small")
    score = _store(home).read("eval_scores", "01")["score_id"][0]
    ancestors = lineage.ancestors(lineage.node(score))
    reached = set(ancestors["table"])
    assert reached >= {
        "eval_episodes",
        "checkpoints",
        "deliberation_trajectories",
        "critiques",
        "rollouts",
        "candidate_actions",
        "expert_trajectories",
        "expert_data",
        "policy",
        "tasks",
        "base_model",
    }
    assert set(ancestors.filter(pl.col("table") == "checkpoints")["iteration"]) == {"00", "01"}
    assert orphans(lineage.database).is_empty()


@pytest.mark.slow
def test_the_links_of_the_chain_are_counted_over_all_that_happened(home: Home) -> None:
    found = json.loads(home.sand("bench", "links", "small", "--json"))
    store = _store(home)
    candidates = store.read("candidate_actions", "01")
    episodes = store.read("eval_episodes", "01")
    assert found["deliberating"]["of"] == store.read("expert_trajectories", "01").height
    assert found["alternative_worse"]["of"] == candidates.filter(~pl.col("is_expert")).height
    assert found["critique_outcome"]["of"] == store.read("critiques", "01").height
    turns = sum(len(steps) for steps in episodes["steps"])
    assert found["turn_deliberates"] == {"share": episodes["deliberations"].sum() / turns, "of": turns}
    assert found["deliberating_good"]["of"] + found["other_good"]["of"] == turns


@pytest.mark.slow
def test_without_an_epoch_the_base_model_is_evaluated_as_it_is(home: Home) -> None:
    base = "extends: small\ndescription: the base model\niterations: 1\nfinetuning: {epochs: [0]}\n"
    (home.path / "experiments" / "small-base.yaml").write_text(base)
    home.sand("run", "small-base", "--until", "00")
    (checkpoint,) = ArtifactStore(home.path, "small-base").read("checkpoints", "00").to_dicts()
    model = AutoModelForCausalLM.from_pretrained(home.path / checkpoint["folder"])
    untrained = AutoModelForCausalLM.from_pretrained(weights())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), untrained.parameters(), strict=True))
    assert (checkpoint["epochs"], checkpoint["trained_tokens"], checkpoint["loss_curve"]) == (0, 0, [])
    scores = json.loads(home.sand("scores", "small-base", "--json"))
    assert [row["split"] for row in scores] == ["seen", "unseen"]


@pytest.mark.slow
def test_the_next_iteration_closes_the_loop(home: Home) -> None:
    home.sand("run", "small", "--until", "02")
    store = _store(home)
    deliberated = store.read("deliberation_trajectories", "01")
    demonstrations = store.read("expert_trajectories", "02")
    assert demonstrations["parent_step_id"].to_list() == deliberated["step_id"].to_list()
    assert demonstrations["thought"].to_list() == deliberated["thought"].to_list()
    assert demonstrations["deliberated"].sum() == deliberated["deliberated"].sum() > 0
    (policy,) = store.read("policy", "02").to_dicts()
    (checkpoint,) = store.read("checkpoints", "01").to_dicts()
    assert policy["checkpoint_id"] == checkpoint["checkpoint_id"]
    assert policy["model_id"] == checkpoint["model_id"]
    assert orphans(Database(home.path, "small")).is_empty()
