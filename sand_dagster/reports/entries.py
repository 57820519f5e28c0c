"""What the reader shows of a task: its evaluated episodes, and its demonstrations with all that branches off.

An entry is plain JSON. A turn is `[thought, action, observation, accepted, deliberates]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.prompts.figures import is_deliberation
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow
from sand_dagster.rows.evaluation import EpisodeRow
from sand_dagster.rows.row import Row
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow, Turn

Json = dict[str, Any]
R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Demonstrations:
    """The rows of one iteration, by what they are looked up by; what is not made yet is empty."""

    steps: Mapping[str, Sequence[DemonstrationRow]]
    """D_exp, by task."""
    made: Mapping[str, Sequence[DeliberationRow]]
    """D_delib, by task."""
    candidates: Mapping[str, Sequence[CandidateRow]]
    """By step of D_exp."""
    rollouts: Mapping[str, RolloutRow]
    """By candidate."""
    critiques: Mapping[str, CritiqueRow]
    """By candidate."""

    @staticmethod
    def of(store: ArtifactStore, iteration: str) -> Demonstrations:
        """Those of `iteration`.

        Raises:
            ArtifactError: a table is damaged.
        """
        return Demonstrations(
            _grouped(store, DemonstrationRow, iteration, "task_id"),
            _grouped(store, DeliberationRow, iteration, "task_id"),
            _grouped(store, CandidateRow, iteration, "step_id"),
            _by_candidate(store, RolloutRow, iteration),
            _by_candidate(store, CritiqueRow, iteration),
        )

    def entries(self, task_id: str) -> Iterator[Json]:
        """One for each trajectory of the task."""
        by_trajectory: dict[str, list[DemonstrationRow]] = {}
        for step in self.steps.get(task_id, ()):
            by_trajectory.setdefault(step.trajectory_id, []).append(step)
        made: dict[str, list[DeliberationRow]] = {}
        for row in self.made.get(task_id, ()):
            made.setdefault(row.parent_step_id, []).append(row)
        for trajectory_id, steps in by_trajectory.items():
            yield {
                "id": trajectory_id,
                "instruction": steps[0].instruction,
                "reward": steps[0].reward,
                "steps": [self._step(step, made.get(step.step_id, [])) for step in steps],
            }

    def _step(self, step: DemonstrationRow, made: Sequence[DeliberationRow]) -> Json:
        candidates = self.candidates.get(step.step_id, ())
        return {
            "id": step.step_id,
            "thought": step.thought,
            "action": step.action,
            "observation": step.observation,
            "origin": step.origin.value,
            "deliberates": candidates[0].deliberates if candidates else None,
            "unparsed": candidates[0].unparsed if candidates else 0,
            "candidates": [self._candidate(candidate) for candidate in candidates],
            "made": [_made(row) for row in made],
        }

    def _candidate(self, row: CandidateRow) -> Json:
        rollout, critique = (self.rollouts.get(row.candidate_id), self.critiques.get(row.candidate_id))
        return {
            "id": row.candidate_id,
            "action": row.action,
            "thought": row.thought,
            "expert": row.is_expert,
            "votes": row.votes,
            "texts": list(row.texts),
            "rollout": rollout
            and {
                "id": rollout.rollout_id,
                "reward": rollout.reward,
                "ended": rollout.ended.value,
                "refused": rollout.invalid_actions,
                "tokens": rollout.completion_tokens,
                "turns": _turns(rollout.steps),
            },
            "critique": critique
            and {
                "id": critique.critique_id,
                "critique": critique.critique,
                "text": critique.text,
                "outcome": critique.outcome.value,
                "attempts": critique.attempts,
            },
        }


def episode_entry(row: EpisodeRow) -> Json:
    """An evaluated episode."""
    return {
        "id": row.episode_id,
        "instruction": row.instruction,
        "reward": row.reward,
        "rewards": list(row.rewards),
        "ended": row.ended.value,
        "deliberations": row.deliberations,
        "refused": row.invalid_actions,
        "unparsed": row.unparsed,
        "tokens": row.completion_tokens,
        "turns": _turns(row.steps),
    }


def ids_in(demonstration: Json) -> Iterator[str]:
    """The ids of all rows in the entry of a demonstration."""
    for step in demonstration["steps"]:
        yield step["id"]
        yield from (made["id"] for made in step["made"])
        for candidate in step["candidates"]:
            yield candidate["id"]
            yield from (candidate[part]["id"] for part in ("rollout", "critique") if candidate[part])


def _made(row: DeliberationRow) -> Json:
    return {
        "id": row.step_id,
        "thought": row.thought,
        "action": row.action,
        "deliberated": row.deliberated,
        "outcome": row.outcome.value,
        "first": row.first_outcome.value,
        "attempts": row.attempts,
        "text": row.text,
        "origin": row.origin.value,
    }


def _turns(turns: Sequence[Turn]) -> list[list[Any]]:
    return [
        [turn.thought, turn.action, turn.observation, turn.valid, is_deliberation(turn.thought)]
        for turn in turns
    ]


def _grouped(store: ArtifactStore, kind: type[R], iteration: str, column: str) -> Mapping[str, Sequence[R]]:
    if store.manifest(kind.table, iteration) is None:
        return {}
    return rows_of(store, kind, iteration).grouped(column)


def _by_candidate(store: ArtifactStore, kind: type[R], iteration: str) -> Mapping[str, R]:
    if store.manifest(kind.table, iteration) is None:
        return {}
    return rows_of(store, kind, iteration).by("candidate_id")
