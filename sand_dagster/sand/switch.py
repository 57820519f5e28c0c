"""The expert switch: a better rollout replaces the demonstration from its step on (Section 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sand_dagster.rows.candidates import CandidateRow, RolloutRow
from sand_dagster.sand.trajectories import Demonstration

ExpertSwitch = Literal["never", "higher_reward", "higher_reward_or_shorter"]


def better_rollout(
    demonstration: Demonstration,
    candidates: Sequence[CandidateRow],
    rollouts: Mapping[str, RolloutRow],
    switch: ExpertSwitch,
) -> CandidateRow | None:
    """The candidate whose rollout replaces `demonstration` from its step on, or None.

    "higher_reward": only a higher final reward is better; "higher_reward_or_shorter": so is the same reward
    in fewer steps. Among several the highest reward, then the shortest, then the earliest step is taken. A
    rollout with a turn that the environment refused, or that held no action, replaces nothing.

    Args:
        candidates: the candidates of this demonstration's steps.
        rollouts: by candidate id.
    """
    if switch == "never":
        return None
    best: tuple[float, int, int, CandidateRow] | None = None
    for candidate in candidates:
        rollout = rollouts.get(candidate.candidate_id)
        if rollout is None or not rollout.was_played:
            continue
        # All of its turns would be finetuned on, and a turn taken out leaves thoughts that speak of it.
        if not all(turn.valid for turn in rollout.steps):
            continue
        length = candidate.index + len(rollout.steps)
        higher = rollout.reward > demonstration.reward
        shorter = rollout.reward == demonstration.reward and length < len(demonstration.rows)
        if not higher and not (shorter and switch == "higher_reward_or_shorter"):
            continue
        rank = (-rollout.reward, length, candidate.index)
        if best is None or rank < best[:3]:
            best = (*rank, candidate)
    return best[3] if best else None
