"""The rows about a step's candidates: the set, the rollout of each, and its critique."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sand_dagster.outcomes import Ended, ReplyOutcome, Sampled
from sand_dagster.rows.row import Row, TaskId, of
from sand_dagster.rows.steps import Turn

_StepId = Annotated[str, "the demonstration's step", of("expert_trajectories")]
_CandidateId = Annotated[str, "the candidate", of("candidate_actions")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow(Row):
    """A distinct candidate of a step, {â¹..âᴺ} ∪ {a_t}."""

    table: ClassVar = "candidate_actions"

    candidate_id: Annotated[str, "id of the candidate"]
    step_id: _StepId
    policy_id: Annotated[str, "the policy that was sampled", of("policy")]
    trajectory_id: Annotated[str, "the demonstration"]
    task_id: TaskId
    index: Annotated[int, "the step's place in its trajectory, from 0"]
    normalised: Annotated[str, "the action, normalised: what makes candidates distinct"]
    action: Annotated[str, "the action as first written"]
    thought: Annotated[str, "ẑ_t of the first sample with this action; the expert's z_t for a_t"]
    is_expert: Annotated[bool, "whether it is a_t"]
    votes: Annotated[int, "how many of the N samples chose it"]
    texts: Annotated[tuple[str, ...], "the raw samples that chose it"]
    deliberates: Annotated[bool, "1_delib(t) of Eq. 4, the same for all candidates of a step"]
    unparsed: Annotated[int, "samples of the step without an action"]
    outcome: Annotated[Sampled, "of the step's sampling: ok or prompt_too_long"]
    prompt_tokens: Annotated[int, "of the step's N prompts together"]
    completion_tokens: Annotated[int, "of the step's N samples together"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRow(Row):
    """A candidate executed and played to the end."""

    table: ClassVar = "rollouts"

    rollout_id: Annotated[str, "id of the rollout"]
    candidate_id: _CandidateId
    policy_id: Annotated[str, "the policy that played", of("policy")]
    step_id: _StepId
    task_id: TaskId
    steps: Annotated[tuple[Turn, ...], "ê_t: the candidate's step, then π_k's"]
    reward: Annotated[float, "r_t: final reward in [0, 1]"]
    ended: Annotated[
        Ended,
        "done, step_limit, prompt_too_long, or replay_mismatch (h_{t-1} could not be replayed)",
    ]
    invalid_actions: Annotated[int, "actions that the environment refused, including the candidate"]
    unparsed: Annotated[int, "replies without an action"]
    prompt_tokens: Annotated[int, "of all its requests"]
    completion_tokens: Annotated[int, "of all its requests"]

    @property
    def was_played(self) -> bool:
        """Whether the candidate was executed; if not, there is nothing to judge it by."""
        return self.ended.was_played


@dataclass(frozen=True, slots=True, kw_only=True)
class CritiqueRow(Row):
    """A candidate's critique c_t."""

    table: ClassVar = "critiques"

    critique_id: Annotated[str, "id of the critique"]
    candidate_id: _CandidateId
    rollout_id: Annotated[str, "the rollout that guided it", of("rollouts")]
    step_id: _StepId
    model_id: Annotated[str, "the frozen base model's content hash", of("base_model")]
    critique: Annotated[str, "the paragraph after `Action Evaluation:`; empty unless ok"]
    text: Annotated[str, "the raw reply"]
    outcome: Annotated[
        ReplyOutcome,
        "ok, empty, no_marker, copied (from its prompt), mentions_notes, cut_off (at max_tokens) or "
        "prompt_too_long",
    ]
    first_outcome: Annotated[ReplyOutcome, "of the first attempt, before the retry"]
    attempts: Annotated[int, "1, or 2 after a retry"]
    prompt_hash: Annotated[str, "hash of the filled prompt"]
    steps_left_out: Annotated[
        int, "steps in the rollout's middle that are left out so that the prompt fits; usually 0"
    ]
    prompt_tokens: Annotated[int, "of all attempts"]
    completion_tokens: Annotated[int, "of all attempts"]
