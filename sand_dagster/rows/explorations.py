"""Explorations: the policy's own episodes on the training tasks (ETO, RFT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sand_dagster.outcomes import Ended
from sand_dagster.rows.row import Row, TaskId, of
from sand_dagster.rows.steps import Turn
from sand_dagster.types import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorationRow(Row):
    """A training task, played from its start by π_k."""

    table: ClassVar = "explorations"

    exploration_id: Annotated[str, "id of the exploration"]
    policy_id: Annotated[str, "the policy that played", of("policy")]
    task_id: TaskId
    sample: Annotated[int, "which of the task's explorations it is, from 0"]
    instruction: Annotated[str, "u"]
    steps: Annotated[tuple[Turn, ...], "the episode"]
    reward: Annotated[float, "final reward in [0, 1]"]
    ended: Annotated[Ended, "done, step_limit, or prompt_too_long"]
    invalid_actions: Annotated[int, "actions that the environment refused"]
    unparsed: Annotated[int, "replies without an action"]
    prompt_tokens: Annotated[int, "of all its requests"]
    completion_tokens: Annotated[int, "of all its requests"]

    @property
    def played(self) -> list[Step]:
        """(z_t, a_t, o_t) of every turn."""
        return [turn.step for turn in self.steps]
