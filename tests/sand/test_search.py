"""Test-time search: what is voted, what best-of-N counts, and how many tokens that took."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sand_dagster.environments.alfworld import DOMAIN
from sand_dagster.evaluation.search import search_scores
from sand_dagster.rows.search import SearchEpisodeRow, SearchMode
from sand_dagster.sand.search import Voting, search
from sand_dagster.sand.settings import SearchSettings
from sand_dagster.types import Completion, Message, Sampling
from tests.sand.scripted import GOAL, TASK, Corridor, ScriptedModel, agent, stage

TASKS = [replace(TASK, id=f"corridor/{n}", split="seen") for n in range(2)]


class _Answers:
    """Gives its answers in order, whatever it is asked."""

    model_id = "answers"

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.seeds: list[int] = []

    async def complete(self, messages: list[Message], sampling: Sampling) -> Completion:
        self.seeds.append(sampling.seed)
        return Completion(self.answers[len(self.seeds) - 1], 10, len(self.seeds), "stop")


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        (["Action: look", "Thought: b\nAction: go to door 1", "Thought: c\nAction: Go to door 1."], 1),
        (["Action: look", "Action: go to door 1", "Action: look", "Action: go to door 1"], 0),
        (["well", "Action: look", "well"], 1),
        (["well", "now", "then"], 0),
    ],
    ids=["the same when normalised", "the first of a tie", "no action, no vote", "nothing to vote on"],
)
async def test_the_action_that_most_samples_choose_wins_with_the_tokens_of_all(
    answers: list[str], chosen: int
) -> None:
    model = _Answers(*answers)
    voted = await Voting(model, DOMAIN, len(answers)).complete([], Sampling(1.0, 64, 7))
    assert voted.text == answers[chosen]
    assert voted.prompt_tokens == 10 * len(answers)
    assert voted.completion_tokens == sum(range(1, len(answers) + 1))
    assert len(set(model.seeds)) == len(answers)


async def _searched(settings: SearchSettings) -> tuple[list[SearchEpisodeRow], ScriptedModel]:
    # A third of the samples reach the door.
    player = agent(lambda _, sampling: f"Action: {GOAL if sampling.seed % 3 == 0 else 'go to door 1'}")
    finished = await search(stage(), TASKS, Corridor(), player, settings)
    assert isinstance(player.model, ScriptedModel)
    return [row for group in finished.rows for row in group], player.model


async def test_best_of_n_plays_n_episodes_and_a_vote_takes_n_samples_a_step() -> None:
    rows, model = await _searched(SearchSettings(n=3))
    best = [row for row in rows if row.mode is SearchMode.ORACLE_BEST_OF_N]
    assert [(row.task_id, row.sample) for row in best] == [(t.id, n) for t in TASKS for n in range(3)]
    votes = [row for row in rows if row.mode is SearchMode.VOTE]
    assert [(row.task_id, row.sample, row.n) for row in votes] == [(t.id, 0, 3) for t in TASKS]
    assert all(row.completion_tokens == 5 * 3 * len(row.steps) for row in votes)
    assert len(model.asked) == sum(len(row.steps) * (3 if row in votes else 1) for row in rows)
    assert len({row.search_episode_id for row in rows}) == len(rows)


async def test_scores_take_the_best_of_the_first_episodes_and_count_the_tokens_of_all_of_them() -> None:
    rows, _ = await _searched(SearchSettings(n=3, modes=(SearchMode.ORACLE_BEST_OF_N,)))
    rewards = {("corridor/0", 0): 0.0, ("corridor/0", 1): 1.0, ("corridor/1", 2): 0.5}
    set_by_hand = [
        replace(row, reward=rewards.get((row.task_id, row.sample), 0.0), completion_tokens=100)
        for row in rows
    ]
    scores = search_scores(set_by_hand, "paper", 0)
    assert [(s.samples, s.average_reward, s.success_rate, s.tokens_per_task) for s in scores] == [
        (1, 0.0, 0.0, 100.0),
        (2, 0.5, 0.5, 200.0),
        (3, 0.75, 0.5, 300.0),
    ]
    assert {(s.tasks, s.split, s.mode) for s in scores} == {(2, "seen", SearchMode.ORACLE_BEST_OF_N)}
    assert [len(s.search_episode_ids) for s in scores] == [2, 4, 6]
