"""The mixed trajectories ẽ before their deliberations: which steps keep their thought, and why (4.4, 4.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sand_dagster.outcomes import StepOutcome
from sand_dagster.roles import Origin
from sand_dagster.rows.candidates import CandidateRow
from sand_dagster.rows.steps import DeliberationRow, StepRow
from sand_dagster.sand.evidence import Evidence
from sand_dagster.sand.settings import DeliberationSettings
from sand_dagster.sand.switch import better_rollout
from sand_dagster.sand.trajectories import Demonstration


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of ẽ before its thought: the demonstration, and its step `t` that it stands at, or follows.

    `deliberates` says whether a deliberation is to be synthesised; `row` is the step as it is without one,
    with an empty id, since that holds the thoughts before it.
    """

    demonstration: Demonstration
    t: int
    deliberates: bool
    row: DeliberationRow


def planned_steps(
    demonstration: Demonstration, evidence: Evidence, settings: DeliberationSettings
) -> Iterator[PlannedStep]:
    """ẽ's steps: the demonstration's, or, after an expert switch, the better rollout's from its step on."""
    own = [c for row in demonstration.rows for c in evidence.candidates.get(row.step_id, ())]
    switched = better_rollout(demonstration, own, evidence.rollouts, settings.expert_switch)
    end = len(demonstration.rows) if switched is None else switched.index
    rollout = None if switched is None else evidence.rollouts[switched.candidate_id]
    reward = demonstration.reward if rollout is None else rollout.reward
    for t in range(end):
        yield _planned(demonstration, t, _kept(demonstration.rows[t], reward), evidence)
    if rollout is None:
        return
    for offset, played in enumerate(rollout.steps):
        row = replace(
            _kept(demonstration.rows[end], reward),
            index=end + offset,
            thought=played.thought,
            action=played.action,
            observation=played.observation,
            deliberated=False,
            origin=Origin.SWITCHED,
            rollout_id=rollout.rollout_id,
        )
        if offset == 0:
            yield _planned(demonstration, end, row, evidence)
        else:
            # π_k chose the steps after the first: there were no candidates.
            yield PlannedStep(demonstration, end, False, row)


def _kept(parent: StepRow, reward: float) -> DeliberationRow:
    """The demonstration's step as it was."""
    return DeliberationRow(
        step_id="",
        trajectory_id=parent.trajectory_id,
        task_id=parent.task_id,
        index=parent.index,
        instruction=parent.instruction,
        thought=parent.thought,
        action=parent.action,
        observation=parent.observation,
        reward=reward,
        deliberated=parent.deliberated,
        origin=parent.origin,
        parent_step_id=parent.step_id,
        candidate_ids=(),
        critique_ids=(),
        rollout_id="",
        model_id="",
        outcome=StepOutcome.KEPT,
        first_outcome=StepOutcome.KEPT,
        attempts=0,
        text="",
        prompt_hash="",
        prompt_tokens=0,
        completion_tokens=0,
    )


def _planned(demonstration: Demonstration, t: int, row: DeliberationRow, evidence: Evidence) -> PlannedStep:
    """Whether `row` deliberates, and over what; where too few candidates have a critique, why it does not."""
    step = row.parent_step_id
    if not evidence.deliberates(step):
        return PlannedStep(demonstration, t, False, row)
    listed, deliberates = evidence.weighed(step), True
    own = [candidate for candidate, _ in listed if _ends_in(row, candidate, evidence)]
    if evidence.critiques is not None and (len(listed) < 2 or not own):
        listed, deliberates = evidence.found(step), False
        row = replace(row, outcome=evidence.why_not(step), first_outcome=evidence.why_not(step))
    row = replace(
        row,
        candidate_ids=tuple(candidate.candidate_id for candidate, _ in listed),
        critique_ids=tuple(critique.critique_id for _, critique in listed if critique is not None),
    )
    return PlannedStep(demonstration, t, deliberates, row)


def _ends_in(row: DeliberationRow, candidate: CandidateRow, evidence: Evidence) -> bool:
    """Whether the step ends in the candidate's action: the expert's, or the one that it is switched to."""
    if row.rollout_id:
        return evidence.rollouts[candidate.candidate_id].rollout_id == row.rollout_id
    return candidate.is_expert
