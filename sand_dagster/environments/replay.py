"""Replaying recorded trajectories in this process: are observations and rewards still the same?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sand_dagster.environments import EnvironmentKind, recordings_of
from sand_dagster.interfaces import Environment
from sand_dagster.recordings.importing import import_row, without_duplicates
from sand_dagster.recordings.recording import Recording, Recordings
from sand_dagster.rows.experts import ImportRow
from sand_dagster.types import Step, StepResult, Task, Trajectory
from sand_dagster.verdicts import Keep


def read_file(path: Path, kind: EnvironmentKind, options: BaseModel, home: Path) -> Recordings:
    """The rows of a file in ETO's format, each with its task of the environment.

    `options` are the environment's; their `experts` is replaced by `path`.

    Raises:
        ValueError: nothing in the file can be read, or the environment reads no such files.
    """
    if "experts" not in type(options).model_fields:
        raise ValueError(
            "this environment makes its own expert trajectories and reads no file of them: "
            "replay the file in alfworld or scienceworld"
        )
    reading: Any = options.model_copy(update={"experts": path})
    tasks = kind.tasks(reading, home, lambda done, total: None)
    found = recordings_of(kind, reading, home, tasks)
    assert found is not None, f"{path} was given, but there are no recordings"
    return found


def as_recordings(trajectories: Iterable[Trajectory]) -> list[Recording]:
    """Trajectories that our own stages played, to be replayed like a file's rows."""
    return [Recording(row, e.id, e, e.reward) for row, e in enumerate(trajectories)]


def replay_all(
    make: Callable[[], Environment], recordings: Iterable[Recording], refusal: str, keep: Keep = "winning"
) -> Iterator[ImportRow]:
    """The `expert_import` rows of `recordings`, replayed one after another in one environment."""
    alone = _Alone(make)
    try:
        with asyncio.Runner() as runner:
            yield from without_duplicates(
                runner.run(import_row(each, keep, alone, refusal)) for each in recordings
            )
    finally:
        alone.end()


@dataclass
class _Alone:
    """One environment in this process as `Environments`: one episode at a time."""

    make: Callable[[], Environment]
    _environment: Environment | None = field(default=None, init=False)

    async def open(self, task: Task, prefix: Sequence[Step] = ()) -> _AloneEpisode:
        assert not prefix, "a recorded trajectory is replayed from its start"
        if self._environment is None:
            self._environment = self.make()
        try:
            return _AloneEpisode(self, self._environment, self._environment.reset(task))
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        if self._environment is not None:
            self._environment.close()
            self._environment = None


@dataclass
class _AloneEpisode:
    alone: _Alone
    environment: Environment
    instruction: str

    async def step(self, action: str) -> StepResult:
        try:
            return self.environment.step(action)
        except BaseException:
            # Its state is unknown now, so the next trajectory gets a new one.
            self.alone.end()
            raise

    async def close(self) -> None: ...
