"""What a step deliberates over: its candidates, what came of them, and their critiques (Section 4.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Self

from sand_dagster.outcomes import StepOutcome
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the earlier stages found: candidates by step id, and rollouts and critiques by candidate id.

    In the variant without EAC there are no rollouts, and `critiques` is None. In the variant without SAS
    there are no candidates either: every step deliberates over `alternatives` = N actions of π_base's own.
    """

    candidates: Mapping[str, Sequence[CandidateRow]]
    rollouts: Mapping[str, RolloutRow] = field(default_factory=dict)
    critiques: Mapping[str, CritiqueRow] | None = None
    alternatives: int = 0

    @classmethod
    def of(
        cls,
        candidates: Iterable[CandidateRow],
        rollouts: Iterable[RolloutRow],
        critiques: Iterable[CritiqueRow],
    ) -> Self:
        """An iteration's candidates, those of a step side by side, with all that was found out about them."""
        return cls(
            {step: list(rows) for step, rows in groupby(candidates, key=lambda row: row.step_id)},
            {row.candidate_id: row for row in rollouts},
            {row.candidate_id: row for row in critiques},
        )

    def deliberates(self, step_id: str) -> bool:
        """1_delib(t) of Eq. 4; where nothing was sampled, no agreement is known."""
        candidates = self.candidates.get(step_id, ())
        return self.alternatives > 0 or (bool(candidates) and candidates[0].deliberates)

    def weighed(self, step_id: str) -> list[tuple[CandidateRow, CritiqueRow | None]]:
        """The candidates that a deliberation lists: where there are critiques, those with a usable one."""
        return [
            (candidate, critique)
            for candidate, critique in self.found(step_id)
            if self.critiques is None or (critique is not None and critique.critique)
        ]

    def found(self, step_id: str) -> list[tuple[CandidateRow, CritiqueRow | None]]:
        """The step's candidates, each with its critique where it has one."""
        # In the order of their text the expert's may stand anywhere, and one set is always listed alike.
        candidates = sorted(self.candidates.get(step_id, ()), key=lambda row: row.normalised)
        critiques = self.critiques or {}
        return [(row, critiques.get(row.candidate_id)) for row in candidates]

    def why_not(self, step_id: str) -> StepOutcome:
        """Why too few of a step's candidates have a usable critique."""
        candidates = self.candidates.get(step_id, ())
        played = all(self._played(candidate.candidate_id) for candidate in candidates)
        return StepOutcome.NO_CRITIQUE if played else StepOutcome.NO_ROLLOUT

    def _played(self, candidate_id: str) -> bool:
        """Whether the candidate was executed, or nothing was to be (the variant without EAC)."""
        rollout = self.rollouts.get(candidate_id)
        return rollout is None or rollout.was_played
