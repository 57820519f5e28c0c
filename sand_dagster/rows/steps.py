"""Steps of trajectories: of the expert, of D_exp and of D_delib; and turns of rollouts and episodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sand_dagster.outcomes import ReplyOutcome, StepOutcome
from sand_dagster.roles import Origin
from sand_dagster.rows.row import Parent, Part, Row, TaskId, of
from sand_dagster.types import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn(Part):
    """A turn that was played: (z_t, a_t), o_t, and whether the environment accepted a_t."""

    thought: str
    action: str
    observation: str
    valid: bool

    @property
    def step(self) -> Step:
        """The turn as a step of a trajectory."""
        return Step(self.thought, self.action, self.observation)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow(Row):
    """A step of a trajectory: the columns that the three tables of steps share."""

    step_id: Annotated[str, "id of the step"]
    trajectory_id: Annotated[str, "id of the trajectory; kept through all iterations"]
    task_id: TaskId
    index: Annotated[int, "t - 1: the step's place in its trajectory, from 0"]
    instruction: Annotated[str, "u: the environment's first observation and the goal"]
    thought: Annotated[str, "z_t, or the deliberation z̃_t; empty if the agent wrote only an action"]
    action: Annotated[str, "a_t"]
    observation: Annotated[str, "o_t"]
    reward: Annotated[float, "final reward of the trajectory, in [0, 1]"]
    deliberated: Annotated[bool, "whether the thought is a synthesised deliberation"]
    origin: Annotated[Origin, "who chose the action: expert, or switched (Section 4.4's expert switch)"]

    @property
    def step(self) -> Step:
        """(z_t, a_t, o_t)"""
        return Step(self.thought, self.action, self.observation)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertRow(StepRow):
    """A step of an expert trajectory."""

    table: ClassVar = "expert_data"
    partitioned: ClassVar = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DemonstrationRow(StepRow):
    """A step of D_exp in this iteration."""

    table: ClassVar = "expert_trajectories"

    parent_step_id: Annotated[
        str,
        "the step it came from: of expert_data, or of the previous iteration's deliberation_trajectories",
        (Parent("expert_data"), Parent("deliberation_trajectories", previous=True)),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliberationRow(StepRow):
    """A step of D_delib, deliberated or kept."""

    table: ClassVar = "deliberation_trajectories"

    parent_step_id: Annotated[str, "the demonstration's step", of("expert_trajectories")]
    candidate_ids: Annotated[tuple[str, ...], "candidates deliberated over", of("candidate_actions")]
    critique_ids: Annotated[tuple[str, ...], "their critiques", of("critiques")]
    rollout_id: Annotated[str, "the rollout that replaced the demonstration; empty: none", of("rollouts")]
    model_id: Annotated[str, "the base model that wrote the thought", of("base_model")]
    outcome: Annotated[
        ReplyOutcome | StepOutcome,
        "ok, kept (no deliberation was needed), or why the step kept its thought: empty, no_list, "
        "mentions_notes, other_action, cut_off (at max_tokens), prompt_too_long, no_critique (fewer than two "
        "candidates have one, or its own action has none), no_rollout (the same, because a candidate "
        "could not be executed), rejected (by a filter)",
    ]
    first_outcome: Annotated[ReplyOutcome | StepOutcome, "of the first attempt, before the retry"]
    attempts: Annotated[int, "0, 1 or 2"]
    text: Annotated[str, "the raw reply; empty if there was no request"]
    prompt_hash: Annotated[str, "hash of the filled prompt; empty if there was no request"]
    prompt_tokens: Annotated[int, "of all attempts"]
    completion_tokens: Annotated[int, "of all attempts"]
