from dataclasses import replace

import pytest

from sand_dagster.evaluation.scores import score
from sand_dagster.outcomes import Ended
from sand_dagster.rows.evaluation import EpisodeRow
from sand_dagster.rows.steps import Turn
from sand_dagster.sand.evaluation import evaluate
from tests.sand.scripted import GOAL, TASK, Corridor, MemoryJournal, ScriptedModel, agent, stage

TASKS = [replace(TASK, id=f"corridor/{n}", split="seen") for n in range(4)]
DELIBERATION = f"Thought: Well.\n\n- fly: no.\n- {GOAL}: yes.\n\nSo.\nAction: {GOAL}"


async def test_every_task_is_played_once_at_temperature_0_without_sampling_actions() -> None:
    player = agent(lambda text, _: DELIBERATION if "You walk" in text else "Action: go to door 1")
    finished = await evaluate(stage(), TASKS, Corridor(), player, 0.0)
    rows = [row for group in finished.rows for row in group]
    assert [row.task_id for row in rows] == [task.id for task in TASKS]
    assert isinstance(player.model, ScriptedModel)
    assert len(player.model.asked) == 2 * len(TASKS)
    assert {sampling.temperature for _, sampling in player.model.asked} == {0.0}
    row = score(rows, "checkpoint", "seen", "paper", 0)
    assert (row.average_reward, row.success_rate, row.tasks) == (1.0, 1.0, 4)
    assert row.deliberation_rate == 0.5
    assert (row.reward_per_step, row.deliberation_per_step) == (0.5, 0.5)
    assert row.tokens_per_task == 10
    assert row.protocol == "paper"


async def test_an_agent_that_never_acts_scores_nothing_and_is_counted() -> None:
    finished = await evaluate(stage(), TASKS, Corridor(), agent(lambda text, _: "well"), 0.0)
    row = score([row for group in finished.rows for row in group], "checkpoint", "seen", "paper", 0)
    assert (row.average_reward, row.unparsed_rate, row.invalid_rate) == (0.0, 1.0, 1.0)
    assert row.steps_per_task == TASK.step_limit


async def test_another_game_under_the_same_id_is_played_again() -> None:
    journal = MemoryJournal()
    for content, asked in (("a", True), ("a", False), ("b", True)):
        player = agent(lambda text, _: f"Action: {GOAL}")
        assert isinstance(player.model, ScriptedModel)
        await evaluate(stage(journal=journal), [replace(TASKS[0], content=content)], Corridor(), player, 0.0)
        assert bool(player.model.asked) == asked, content


def _episode(steps: int, reward: float, deliberations: int) -> EpisodeRow:
    """An episode with values only in the columns that scores use."""
    turn = Turn(thought="", action="look", observation="", valid=True)
    return EpisodeRow(
        episode_id=f"{steps}-{reward}",
        checkpoint_id="checkpoint",
        task_id="t",
        split="seen",
        kind="walk",
        instruction="",
        steps=(turn,) * steps,
        rewards=(reward,) * steps,
        reward=reward,
        ended=Ended.DONE,
        deliberations=deliberations,
        invalid_actions=0,
        unparsed=0,
        prompt_tokens=0,
        completion_tokens=0,
    )


def test_figure_3_is_a_mean_over_tasks_not_over_steps() -> None:
    episodes = [_episode(2, 1.0, 2), _episode(8, 0.4, 2), _episode(10, 0.0, 0)]
    row = score(episodes, "checkpoint", "seen", "paper", 0)
    assert row.reward_per_step == pytest.approx((1 / 2 + 0.4 / 8 + 0) / 3)
    assert row.deliberation_per_step == pytest.approx((2 / 2 + 2 / 8 + 0) / 3)
    assert row.deliberation_rate == pytest.approx(4 / 20)


def test_a_task_without_a_step_counts_as_0_a_step() -> None:
    row = score([_episode(0, 0.0, 0), _episode(4, 1.0, 1)], "checkpoint", "seen", "paper", 0)
    assert (row.reward_per_step, row.deliberation_per_step) == (0.125, 0.125)
    alone = score([_episode(0, 0.0, 0)], "checkpoint", "seen", "paper", 0)
    assert (alone.reward_per_step, alone.deliberation_per_step) == (0.0, 0.0)
