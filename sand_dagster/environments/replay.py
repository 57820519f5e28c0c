"""Replaying recorded trajectories against an environment: do they still say and win what they said?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sand_dagster.environments import EnvironmentKind
from sand_dagster.environments.records import read_records
from sand_dagster.sand.interfaces import Environment
from sand_dagster.sand.types import Trajectory

_WON = 1.0 - 1e-6


@dataclass(frozen=True, slots=True)
class Difference:
    """The first text that differs. `index` is the step's, None for the instruction u."""

    index: int | None
    action: str
    recorded: str
    found: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """How one trajectory went: `reward` is the environment's at the end, in [0, 1]."""

    trajectory_id: str
    task_id: str
    steps: int
    difference: Difference | None
    reward: float

    @property
    def won(self) -> bool:
        return self.reward >= _WON


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """The trajectories of a file, and how many of its rows belong to no task of the environment."""

    trajectories: list[Trajectory]
    without_task: int


def read_file(path: Path, kind: EnvironmentKind, options: BaseModel, home: Path) -> RecordedFile:
    """The trajectories of a file in ETO's format, each with its task of the environment.

    `options` are the environment's; their `experts` is replaced by `path`.

    Raises:
        ValueError: the file is malformed, or the environment reads no such files.
    """
    if "experts" not in type(options).model_fields:
        raise ValueError(
            "this environment makes its own expert trajectories and reads no file of them: "
            "replay the file in alfworld or scienceworld"
        )
    reading: Any = options.model_copy(update={"experts": path})

    def quietly(done: int, total: int) -> None:
        pass

    tasks = kind.tasks(reading, home, quietly)
    trajectories = list(kind.experts(reading, home, tasks, quietly))
    return RecordedFile(trajectories, sum(1 for _ in read_records(path)) - len(trajectories))


def replay_all(
    kind: EnvironmentKind, options: BaseModel, home: Path, trajectories: Iterable[Trajectory]
) -> Iterator[Replayed]:
    """Replay trajectories one after another in one environment."""
    with closing(kind.make(options, home)) as environment:
        for trajectory in trajectories:
            yield replay(environment, trajectory, kind.DOMAIN.refusal)


def replay(environment: Environment, trajectory: Trajectory, refusal: str) -> Replayed:
    """Play a trajectory's actions to their end and compare every text with the recorded one.

    A step without an action was answered with `refusal` by the loop, not by the environment. A last step
    without an observation was recorded before the environment answered, and is not compared.
    """
    found = environment.reset(trajectory.task)
    difference = None
    if found != trajectory.instruction:
        difference = Difference(None, "", trajectory.instruction, found)
    reward = 0.0
    last = len(trajectory.steps) - 1
    for index, step in enumerate(trajectory.steps):
        found = refusal
        if step.action:
            result = environment.step(step.action)
            found, reward = result.observation, result.reward
        unrecorded = index == last and not step.observation
        if difference is None and not unrecorded and found != step.observation:
            difference = Difference(index, step.action, step.observation, found)
    return Replayed(trajectory.id, trajectory.task.id, len(trajectory.steps), difference, reward)
