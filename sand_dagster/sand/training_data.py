"""What a finetuning is on: trajectories for SFT, or pairs of them for DPO."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

from sand_dagster.interfaces import Domain
from sand_dagster.prompts.turns import conversation
from sand_dagster.rows.explorations import ExplorationRow
from sand_dagster.rows.steps import StepRow
from sand_dagster.sand.trajectories import Demonstration, demonstrations_of
from sand_dagster.types import Message, Step


@dataclass(frozen=True, slots=True)
class Learnt:
    """A whole trajectory that is finetuned on. `ids` are the rows that it comes from.

    The `trajectory_id` of an exploration is its own id.
    """

    trajectory_id: str
    ids: tuple[str, ...]
    instruction: str
    steps: Sequence[Step]
    reward: float

    @classmethod
    def demonstration(cls, demonstration: Demonstration) -> Self:
        """The expert's, or one of D_delib."""
        steps = demonstration.history(len(demonstration.rows))
        ids = tuple(row.step_id for row in demonstration.rows)
        return cls(
            demonstration.rows[0].trajectory_id, ids, demonstration.instruction, steps, demonstration.reward
        )

    @classmethod
    def exploration(cls, row: ExplorationRow) -> Self:
        """The policy's own."""
        return cls(row.exploration_id, (row.exploration_id,), row.instruction, row.played, row.reward)

    def conversation(self, domain: Domain) -> list[Message]:
        """It as a chat to be finetuned on; it ends with the agent's last turn."""
        return conversation(domain, self.instruction, self.steps)[:-1]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """`learnt` are finetuned on; with `rejected`, one for each, DPO prefers `learnt` to them."""

    learnt: Sequence[Learnt]
    rejected: Sequence[Learnt] | None = None

    @classmethod
    def demonstrations(cls, steps: Iterable[StepRow]) -> Self:
        """All trajectories of D_delib."""
        return cls([Learnt.demonstration(each) for each in demonstrations_of(steps)])

    @property
    def ids(self) -> tuple[str, ...]:
        """The rows that it comes from, each once, in order."""
        both = (*self.learnt, *(self.rejected or ()))
        return tuple(dict.fromkeys(chain.from_iterable(each.ids for each in both)))

    @property
    def texts(self) -> list[object]:
        """All that is trained on, for the unit's key."""
        return [
            [[each.instruction, [[s.thought, s.action, s.observation] for s in each.steps]] for each in side]
            for side in (self.learnt, self.rejected or ())
        ]
