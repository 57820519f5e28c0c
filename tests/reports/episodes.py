"""Episodes and experiments for a report, without a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.outcomes import Ended
from sand_dagster.reports.subjects import Subject
from sand_dagster.rows.evaluation import EpisodeRow
from sand_dagster.rows.steps import Turn

GAME = "household/seen/pick_cool_then_place_in_recep-Lettuce-None-CounterTop-1038/trial_{number}"


def turn(action: str, valid: bool = True, thought: str = "I think.") -> Turn:
    return Turn(thought=thought, action=action, observation=f"You {action}.", valid=valid)


def episode(
    number: int, *turns: Turn, reward: float = 0.0, iteration: str = "00", ended: Ended = Ended.STEP_LIMIT
) -> EpisodeRow:
    """An episode of the task `number`."""
    return EpisodeRow(
        episode_id=f"{int(iteration):04x}{number:012x}",
        checkpoint_id="c",
        task_id=GAME.format(number=number),
        split="seen",
        kind="pick_cool_then_place_in_recep",
        instruction=f"You are in the middle of a room.\n\nYour task is to: put cool lettuce {number} away.",
        steps=turns,
        rewards=tuple([0.0] * (len(turns) - 1) + [reward]) if turns else (),
        reward=reward,
        ended=Ended.DONE if reward == 1.0 else ended,
        deliberations=0,
        invalid_actions=sum(not each.valid for each in turns),
        unparsed=sum(not each.action for each in turns),
        prompt_tokens=100,
        completion_tokens=10,
    )


def subject(home: Path, name: str = "household", **episodes: Sequence[EpisodeRow]) -> Subject:
    """An experiment of the project with `episodes`, by iteration: `k00=[…]`."""
    return Subject(
        load_experiment(name, home),
        ArtifactStore(home, name),
        {iteration.removeprefix("k"): rows for iteration, rows in episodes.items()},
    )
