"""Test-time search: the episodes of each mode, and a split's aggregate (Section 6.5, Appendix B)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar

from sand_dagster.outcomes import Ended
from sand_dagster.rows.row import Row, TaskId, of
from sand_dagster.rows.steps import Turn


class SearchMode(StrEnum):
    """How an agent spends more samples on a test task."""

    ORACLE_BEST_OF_N = "oracle_best_of_n"
    """N whole episodes; the one with the highest final reward counts, as if the environment picked it."""
    VOTE = "vote"
    """N turns at every step; the action that most of them choose is executed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchEpisodeRow(Row):
    """A test task, played by a mode of test-time search."""

    table: ClassVar = "search_episodes"

    search_episode_id: Annotated[str, "id of the episode"]
    checkpoint_id: Annotated[str, "the checkpoint that played", of("checkpoints")]
    task_id: TaskId
    mode: Annotated[SearchMode, "oracle_best_of_n or vote"]
    n: Annotated[int, "N"]
    sample: Annotated[int, "which of the N episodes it is, from 0; with mode vote there is only one"]
    split: Annotated[str, "seen or unseen"]
    kind: Annotated[str, "the task's type"]
    instruction: Annotated[str, "u"]
    steps: Annotated[tuple[Turn, ...], "the episode; with mode vote the turns that won"]
    reward: Annotated[float, "final reward in [0, 1]"]
    ended: Annotated[Ended, "done, step_limit, or prompt_too_long"]
    invalid_actions: Annotated[int, "actions that the environment refused"]
    unparsed: Annotated[int, "replies without an action"]
    prompt_tokens: Annotated[int, "of all its requests, all samples of a step counted"]
    completion_tokens: Annotated[int, "the same"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchScoreRow(Row):
    """A split's aggregate for a mode and a number of samples."""

    table: ClassVar = "search_scores"

    search_score_id: Annotated[str, "id of the score"]
    checkpoint_id: Annotated[str, "the checkpoint that played", of("checkpoints")]
    search_episode_ids: Annotated[tuple[str, ...], "the episodes it sums up", of("search_episodes")]
    mode: Annotated[SearchMode, "oracle_best_of_n or vote"]
    samples: Annotated[int, "with oracle_best_of_n the first 1 to N episodes of a task; with vote N"]
    split: Annotated[str, "seen or unseen"]
    protocol: Annotated[str, "paper or eto: prompts, shots and step limits"]
    tasks: Annotated[int, "tasks"]
    average_reward: Annotated[float, "in [0, 1]"]
    reward_low: Annotated[float, "lower end of its 95 % bootstrap interval"]
    reward_high: Annotated[float, "upper end"]
    success_rate: Annotated[float, "share of tasks with reward 1"]
    tokens_per_task: Annotated[float, "completion tokens per task, of all samples"]
    prompt_tokens_per_task: Annotated[float, "prompt tokens per task, of all samples"]
