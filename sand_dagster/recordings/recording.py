"""Recorded trajectories, and the result of replaying one in our environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sand_dagster.interfaces import Environments
from sand_dagster.types import Step, StepResult, Trajectory
from sand_dagster.verdicts import Keep, Verdict

INSTRUCTION = -1
"""The index of a difference in the instruction u, before the first step."""

_WON = 1.0 - 1e-6


@dataclass(frozen=True, slots=True)
class Recording:
    """A row of a file of recorded trajectories. `row` is its place there, from 0.

    `trajectory` holds the texts as recorded, in the words that our environment uses; None if the row gave
    none, and then `verdict` and `problem` say why. `reward` is the recorded one, None if there is none.
    """

    row: int
    id: str = ""
    trajectory: Trajectory | None = None
    reward: float | None = None
    verdict: Verdict | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Recordings:
    """The content of a file of recorded trajectories, and which of it is wanted."""

    source: str
    rows: Sequence[Recording]
    keep: Keep = "winning"


@dataclass(frozen=True, slots=True)
class Difference:
    """The first text that differs from the recording. `index` is the step's, `INSTRUCTION` for u."""

    index: int
    action: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded trajectory as our environment plays it, up to the point where the episode ends.

    `steps` have the recorded thoughts and actions, and the replay's observations; `valid` says for each
    whether the environment accepted it. `reward` is the last one, in [0, 1].
    """

    instruction: str
    steps: Sequence[Step]
    valid: Sequence[bool]
    reward: float
    difference: Difference | None

    @property
    def won(self) -> bool:
        return self.reward >= _WON

    @property
    def refused(self) -> int | None:
        """The index of the first action that the environment refused."""
        return self.valid.index(False) if False in self.valid else None

    @property
    def verdict(self) -> Verdict:
        if not self.won:
            return Verdict.DOES_NOT_WIN
        if self.refused is not None:
            return Verdict.REFUSED_ACTION
        return Verdict.KEPT if self.difference is None else Verdict.KEPT_REWORDED


async def replay(environments: Environments, trajectory: Trajectory, refusal: str) -> Replayed:
    """Play a trajectory's actions and compare every text with the recorded one.

    It is cut at the end of the episode. A step without an action does not reach the environment: its
    observation is `refusal`, as in the loop. A last step without an observation was recorded before the
    environment answered, and is not compared.
    """
    episode = await environments.open(trajectory.task)
    try:
        differences: list[Difference] = []
        if episode.instruction != trajectory.instruction:
            differences.append(Difference(INSTRUCTION, "", trajectory.instruction, episode.instruction))
        steps: list[Step] = []
        valid: list[bool] = []
        reward = 0.0
        last = len(trajectory.steps) - 1
        for index, step in enumerate(trajectory.steps):
            result = StepResult(refusal, reward, False, False)
            if step.action:
                result = await episode.step(step.action)
            steps.append(Step(step.thought, step.action, result.observation))
            valid.append(result.valid)
            reward = result.reward
            unrecorded = index == last and not step.observation
            if not unrecorded and result.observation != step.observation:
                differences.append(Difference(index, step.action, step.observation, result.observation))
            if result.done:
                break
        first = differences[0] if differences else None
        return Replayed(episode.instruction, steps, valid, reward, first)
    finally:
        await episode.close()
