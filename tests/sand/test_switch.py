"""When a rollout replaces the demonstration (Section 4.4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sand_dagster.rows.steps import Turn
from sand_dagster.sand.switch import ExpertSwitch, better_rollout
from sand_dagster.sand.trajectories import Demonstration
from tests.artifacts.rows import row
from tests.sand.scripted import GOAL, demonstration

WALK = Turn(thought="", action="go to door 2", observation="You walk.", valid=True)
WIN = Turn(thought="", action=GOAL, observation="You reach door 3.", valid=True)
REFUSED = Turn(thought="", action="fly", observation="Nothing happens.", valid=False)
UNPARSED = Turn(thought="Well.", action="", observation="Nothing happens.", valid=False)


def _better(
    *rollouts: tuple[int, list[Turn], float],
    switch: ExpertSwitch = "higher_reward_or_shorter",
    reward: float = 1.0,
    ended: str = "done",
) -> str | None:
    """The place of the rollout that replaces three steps of `reward`; a rollout is (index, turns, reward)."""
    rows = [replace(step, reward=reward) for step in demonstration().rows]
    candidates = [row("candidate_actions", f"{n}", index=index) for n, (index, _, _) in enumerate(rollouts)]
    played = {
        f"{n}": row("rollouts", f"r{n}", steps=tuple(steps), reward=reached, ended=ended)
        for n, (_, steps, reached) in enumerate(rollouts)
    }
    better = better_rollout(Demonstration(rows), candidates, played, switch)
    return better and better.candidate_id


def test_the_same_reward_in_fewer_steps_is_better_if_configured() -> None:
    shorter = (0, [WALK, WIN], 1.0)
    assert _better(shorter) == "0"
    assert _better(shorter, switch="higher_reward") is None
    assert _better(shorter, switch="never") is None
    assert _better((1, [WALK, WIN], 1.0)) is None, "as long as the demonstration"
    assert _better((0, [WALK], 0.0)) is None, "shorter, and lost"


def test_a_higher_reward_is_better_at_any_length() -> None:
    longer = (2, [WALK, WALK, WIN], 1.0)
    assert _better(longer, reward=0.5, switch="higher_reward") == "0"
    assert _better(longer, reward=1.0) is None


def test_the_highest_reward_is_taken_then_the_shortest() -> None:
    found = _better((0, [WIN], 0.6), (0, [WALK, WALK, WIN], 1.0), (1, [WIN], 1.0), reward=0.5)
    assert found == "2"


@pytest.mark.parametrize("bad", [REFUSED, UNPARSED], ids=["refused", "unparsed"])
def test_a_rollout_with_a_refused_turn_or_none_replaces_nothing(bad: Turn) -> None:
    assert _better((0, [bad, WIN], 1.0)) is None
    assert _better((0, [bad, WIN], 1.0), reward=0.0, switch="higher_reward") is None
    assert _better((0, [bad], 1.0), (1, [WIN], 1.0)) == "1", "the next best without one is used"


def test_a_candidate_that_was_not_executed_replaces_nothing() -> None:
    assert _better((0, [], 1.0), ended="replay_mismatch", reward=0.0) is None
