"""Evaluation: the result of each test task, and of a split (Section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sand_dagster.outcomes import Ended
from sand_dagster.rows.row import Row, TaskId, of
from sand_dagster.rows.steps import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRow(Row):
    """An evaluated task."""

    table: ClassVar = "eval_episodes"

    episode_id: Annotated[str, "id of the episode"]
    checkpoint_id: Annotated[str, "the checkpoint that played", of("checkpoints")]
    task_id: TaskId
    split: Annotated[str, "seen or unseen"]
    kind: Annotated[str, "the task's type"]
    instruction: Annotated[str, "u"]
    steps: Annotated[tuple[Turn, ...], "the episode"]
    rewards: Annotated[tuple[float, ...], "reward after each step"]
    reward: Annotated[float, "final reward in [0, 1]"]
    ended: Annotated[Ended, "done, step_limit, or prompt_too_long"]
    deliberations: Annotated[int, "steps whose thought deliberates"]
    invalid_actions: Annotated[int, "actions that the environment refused"]
    unparsed: Annotated[int, "replies without an action"]
    prompt_tokens: Annotated[int, "of all its requests"]
    completion_tokens: Annotated[int, "of all its requests: the paper's tokens per task"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow(Row):
    """A split's aggregate."""

    table: ClassVar = "eval_scores"

    score_id: Annotated[str, "id of the score"]
    checkpoint_id: Annotated[str, "the checkpoint that was evaluated", of("checkpoints")]
    episode_ids: Annotated[tuple[str, ...], "the episodes it sums up", of("eval_episodes")]
    split: Annotated[str, "seen or unseen"]
    protocol: Annotated[str, "paper or eto: prompts, shots and step limits"]
    tasks: Annotated[int, "episodes"]
    average_reward: Annotated[float, "in [0, 1]: the paper's measure"]
    reward_low: Annotated[float, "lower end of its 95 % bootstrap interval"]
    reward_high: Annotated[float, "upper end"]
    success_rate: Annotated[float, "share of episodes with reward 1"]
    deliberation_rate: Annotated[float, "share of steps whose thought deliberates"]
    reward_per_step: Annotated[
        float, "mean over tasks of reward / steps (Figure 3's bars); 0 for a task without a step"
    ]
    deliberation_per_step: Annotated[
        float,
        "mean over tasks of deliberating steps / steps (Figure 3's lines); 0 for a task without a step",
    ]
    tokens_per_task: Annotated[float, "completion tokens per episode"]
    steps_per_task: Annotated[float, "turns per episode"]
    invalid_rate: Annotated[float, "share of steps that the environment refused"]
    unparsed_rate: Annotated[float, "share of replies without an action"]
