"""RFT and ETO as experiments: what their stages read from the iteration before, and what they finetune on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sand_dagster.artifacts.lineage import Lineage
from sand_dagster.artifacts.sql import Database
from sand_dagster.audit.prompts import prompt_of
from sand_dagster.audit.why import why
from sand_dagster.experiments.experiment import Endpoint, Experiment
from sand_dagster.jobs.checks import broken_invariants
from sand_dagster.models.settings import Checkpoint
from sand_dagster.models.stats import GenerationStats
from sand_dagster.types import Completion, Message, Sampling
from tests.assets.pipeline import FINETUNED, NAME, Pipeline, Scripted, finished


@pytest.fixture(scope="module", params=["rft", "eto"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    more = f"variant: {request.param}\nexplorations: {{n: 2, temperature: 1.0}}"
    with finished(tmp_path_factory.mktemp(request.param), more) as pipeline:
        yield pipeline


def test_each_iteration_keeps_the_experts_and_explores_with_the_checkpoint_before(made: Pipeline) -> None:
    experts, before = (made.store.read("expert_trajectories", key) for key in ("01", "00"))
    assert experts["parent_step_id"].to_list() == before["parent_step_id"].to_list()
    (policy,) = made.store.read("policy", "01").to_dicts()
    assert policy["checkpoint_id"] == made.store.read("checkpoints", "00")["checkpoint_id"][0]
    explored = made.store.read("explorations", "01")
    assert explored["policy_id"].to_list() == [policy["policy_id"]] * 2
    assert explored["sample"].to_list() == [0, 1]
    assert made.store.read("explorations", "00").height == 0
    assert not made.store.folder("deliberation_trajectories", "01").exists()
    for key in ("00", "01"):
        assert broken_invariants(made.experiment, made.store, key) == []


def test_a_checkpoint_leads_to_the_episodes_that_it_was_trained_on(made: Pipeline) -> None:
    lineage = Lineage(made.home, NAME)
    (checkpoint,) = lineage.find(made.store.read("checkpoints", "01")["checkpoint_id"][0])
    reached = {link.parent.table for link in lineage.parents(checkpoint) if link.column == "step_ids"}
    # The scripted policy never wins: RFT has nothing to add to the experts' steps.
    pairs = made.experiment.variant == "eto"
    assert reached == ({"expert_trajectories", "explorations"} if pairs else {"expert_trajectories"})
    found = Database(made.home, NAME).query("SELECT reason FROM left_out WHERE what = 'exploration'")
    assert found.height == (0 if pairs else 2)


def test_why_names_the_explorations_behind_an_episode(made: Pipeline) -> None:
    lineage = Lineage(made.home, NAME)
    (node,) = lineage.find(made.store.read("eval_episodes", "01")["episode_id"][0])
    said = "\n".join(why(lineage, node))
    used = 2 if made.experiment.variant == "eto" else 0
    assert f"of the experts and on {used} explorations of the policy" in said
    assert "of which 0 won" in said


def test_the_prompt_of_an_explorations_turn_can_be_rebuilt(made: Pipeline) -> None:
    lineage = Lineage(made.home, NAME)
    (node, _) = (lineage.find(id)[0] for id in made.store.read("explorations", "01")["exploration_id"])
    assert prompt_of(lineage, node, 2).agrees


def _contents(conversation: list[Message]) -> list[str]:
    return [message["content"] for message in conversation if message["role"] == "assistant"]


def test_eto_prefers_the_experts_trajectory_to_each_lost_one(pipeline: Pipeline) -> None:
    pipeline.configure(
        "variant: eto\nexplorations: {n: 2, temperature: 1.0}\neto: {beta: 0.3, epochs: 4}\n"
        "finetuning: {epochs: [2]}"
    )
    pipeline.materialise(iteration="00")
    assert FINETUNED[-1]["rejected"] is None and FINETUNED[-1]["epochs"] == 2
    pipeline.materialise(iteration="01")
    asked = FINETUNED[-1]
    assert asked["epochs"] == 4
    assert str(asked["parent"]).startswith(str(pipeline.home / "small/checkpoints"))
    expert = [row["action"] for row in pipeline.store.read("expert_trajectories", "01").to_dicts()]
    lost = [
        [turn["action"] for turn in row["steps"]]
        for row in pipeline.store.read("explorations", "01").to_dicts()
    ]
    assert len(asked["conversations"]) == len(asked["rejected"]) == 2
    for chosen, rejected, actions in zip(asked["conversations"], asked["rejected"], lost, strict=True):
        assert [text.rpartition("Action: ")[2] for text in _contents(chosen)] == expert
        assert [text.rpartition("Action: ")[2] for text in _contents(rejected)] == actions
        assert chosen[0] == rejected[0], "both begin with the same prompt"
    settings = json.loads(pipeline.store.read("checkpoints", "01")["settings"][0])
    assert settings["eto"]["beta"] == 0.3
    assert "eto" not in json.loads(pipeline.store.read("checkpoints", "00")["settings"][0])


class Winning(Scripted):
    """A policy that plays the expert's actions in the training task, with thoughts of its own."""

    actions: list[str]

    @asynccontextmanager
    async def model(
        self, experiment: Experiment, endpoint: Endpoint | None, folder: Path, checkpoint: Checkpoint | None
    ) -> AsyncIterator[Any]:
        yield _Player(self.actions)


@dataclass(frozen=True)
class _Player:
    actions: Sequence[str]
    model_id: str = "winning"

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        turn = len(messages) // 2
        action = self.actions[turn] if turn < len(self.actions) else "look"
        return Completion(f"Thought: I know it.\nAction: {action}", 10, 5, "stop")

    def stats(self) -> GenerationStats:
        return GenerationStats()


def _winning(pipeline: Pipeline) -> Winning:
    return Winning(actions=pipeline.store.read("expert_data", None)["action"].to_list())


def test_rft_adds_a_win_to_the_experts_once(pipeline: Pipeline) -> None:
    pipeline.configure(
        "variant: rft\nexplorations: {n: 2, temperature: 1.0}\nfinetuning: {restart_from: base}"
    )
    pipeline.materialise(iteration="00")
    pipeline.materialise(iteration="01", generation=_winning(pipeline))
    assert pipeline.store.read("explorations", "01")["reward"].to_list() == [1.0, 1.0]
    asked = FINETUNED[-1]
    assert asked["rejected"] is None
    assert [len(chat) for chat in asked["conversations"]] == [len(asked["conversations"][0])] * 2
    assert _contents(asked["conversations"][1])[0].startswith("Thought: I know it.")
    assert str(asked["parent"]) == str(pipeline.home / "base")


def test_eto_without_a_pair_says_what_to_do(pipeline: Pipeline) -> None:
    pipeline.configure("variant: eto")
    pipeline.materialise(iteration="00")
    with pytest.raises(
        dg.Failure, match=r"none of the 1 explorations of iteration 01 .* Raise explorations\.n"
    ):
        pipeline.materialise(iteration="01", generation=_winning(pipeline))


def test_a_pair_that_is_there_whole_is_not_trained_on_again(made: Pipeline) -> None:
    assert made.materialise("checkpoints", iteration="01") == []
