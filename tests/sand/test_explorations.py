"""The policy's own episodes on the training tasks, and what RFT and ETO make of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from sand_dagster.outcomes import Ended
from sand_dagster.rows.explorations import ExplorationRow
from sand_dagster.rows.steps import Turn
from sand_dagster.sand.explorations import experts_and_wins, explore, preferences
from sand_dagster.sand.settings import ExplorationSettings
from sand_dagster.sand.trajectories import Demonstration, demonstrations_of, expert_rows, next_demonstrations
from sand_dagster.types import Sampling, Step, Trajectory
from tests.sand.scripted import GOAL, INSTRUCTION, TASK, Corridor, ScriptedModel, agent, demonstration, stage

TASKS = [replace(TASK, id=f"corridor/{n}") for n in range(3)]


async def _explored(
    reply: Callable[[str, Sampling], str | None], n: int = 2
) -> tuple[list[ExplorationRow], ScriptedModel]:
    player = agent(reply)
    settings = ExplorationSettings(n=n, temperature=1.0)
    finished = await explore(stage(), TASKS, Corridor(), player, settings)
    assert isinstance(player.model, ScriptedModel)
    return [row for group in finished.rows for row in group], player.model


async def test_each_task_is_played_n_times_from_its_start_and_each_time_with_other_seeds() -> None:
    rows, model = await _explored(lambda text, _: f"Action: {GOAL if 'You walk' in text else 'go to door 1'}")
    assert [(row.task_id, row.sample) for row in rows] == [(t.id, n) for t in TASKS for n in (0, 1)]
    assert {(row.reward, row.ended, len(row.steps)) for row in rows} == {(1.0, Ended.DONE, 2)}
    assert {row.policy_id for row in rows} == {"policy-1"}
    assert len({row.exploration_id for row in rows}) == 6
    assert len({sampling.seed for _, sampling in model.asked}) == len(model.asked) == 12
    assert {sampling.temperature for _, sampling in model.asked} == {1.0}


def _turns(*actions: str, valid: bool = True) -> tuple[Turn, ...]:
    return tuple(Turn(thought="I go.", action=a, observation="You walk.", valid=valid) for a in actions)


def _exploration(id: str, reward: float, steps: tuple[Turn, ...], task: str = TASK.id) -> ExplorationRow:
    return ExplorationRow(
        exploration_id=id,
        policy_id="policy-1",
        task_id=task,
        sample=0,
        instruction=INSTRUCTION,
        steps=steps,
        reward=reward,
        ended=Ended.DONE,
        invalid_actions=0,
        unparsed=0,
        prompt_tokens=0,
        completion_tokens=0,
    )


LOST = _exploration("lost", 0.0, _turns("go to door 1"))
WON = _exploration("won", 1.0, _turns("go to door 2", GOAL))
REFUSED = _exploration("refused", 1.0, (*_turns("fly", valid=False), *_turns(GOAL)))
AGAIN = replace(WON, exploration_id="again", sample=1)
OF_NO_EXPERT = _exploration("elsewhere", 0.0, _turns("go to door 1"), task="corridor/9")


def _expert(reward: float) -> Demonstration:
    trajectory = Trajectory("e1", TASK, INSTRUCTION, [Step("I go.", GOAL, "You reach door 3.")], reward)
    return demonstrations_of(next_demonstrations("01", expert_rows([trajectory]), None))[0]


def test_rft_takes_the_experts_and_each_distinct_win_without_a_refused_turn() -> None:
    expert = demonstration()
    as_the_expert = replace(
        WON,
        exploration_id="same",
        steps=tuple(
            Turn(thought=s.thought, action=s.action, observation=s.observation, valid=True)
            for s in expert.history(3)
        ),
    )
    data = experts_and_wins([expert], [LOST, WON, REFUSED, AGAIN, as_the_expert])
    assert data.rejected is None
    assert data.ids == (*(row.step_id for row in expert.rows), "won")
    assert [step.action for step in data.learnt[1].steps] == ["go to door 2", GOAL]


@pytest.mark.parametrize(
    ("reward", "explored", "chosen", "rejected"),
    [
        (1.0, LOST, "expert", "lost"),
        (0.5, WON, "won", "expert"),
        (0.5, replace(LOST, reward=0.25), "expert", "lost"),
    ],
)
def test_eto_prefers_the_trajectory_with_the_higher_reward(
    reward: float, explored: ExplorationRow, chosen: str, rejected: str
) -> None:
    expert = _expert(reward)
    names = {explored.exploration_id: explored.exploration_id, expert.rows[0].step_id: "expert"}
    data = preferences([expert], [explored])
    assert data.rejected is not None
    assert [names[each.ids[0]] for each in (*data.learnt, *data.rejected)] == [chosen, rejected]


def test_eto_makes_no_pair_of_a_tie_of_a_repetition_or_where_there_is_no_expert_or_no_turn() -> None:
    unplayed = _exploration("unplayed", 0.0, ())
    data = preferences([_expert(1.0)], [WON, LOST, replace(LOST, sample=1), OF_NO_EXPERT, unplayed])
    assert [each.ids[0] for each in data.rejected or ()] == ["lost"]


def test_of_two_experts_of_a_task_the_better_is_preferred() -> None:
    data = preferences([_expert(0.5), _expert(1.0)], [LOST])
    assert [each.reward for each in data.learnt] == [1.0]
