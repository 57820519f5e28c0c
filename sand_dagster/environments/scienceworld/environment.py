"""ScienceWorld as SAND's agent meets it."""

from __future__ import annotations

from typing import ClassVar, Self

from sand_dagster.environments.scienceworld.domain import REFUSALS, as_written
from sand_dagster.environments.scienceworld.simulator import Simulator
from sand_dagster.environments.scienceworld.task_types import TASK_TYPES
from sand_dagster.sand.interfaces import ReplayMismatch
from sand_dagster.sand.types import StepResult, Task


class ScienceWorldEnvironment:
    """See `Environment`.

    The instruction u is the task description alone, as in ETO's data: the first look at the room is an
    action like any other. The reward is the running maximum of the raw score, clamped at 0: a wrong
    `focus on` ends the episode and takes nothing away. After `Ambiguous request: …` the simulator waits for
    a bare number; any other action cancels the request and is not executed. That is left as it is.

    The JVM is started by the first `reset` and kept for the next ones; one that has died is replaced by
    the next `reset`.
    """

    exclusive: ClassVar[bool] = True
    cheap_fork: ClassVar[bool] = False

    def __init__(self) -> None:
        self._simulator: Simulator | None = None
        self._task: Task | None = None
        self._trail: list[tuple[str, str]] = []
        self._best = 0.0

    def reset(self, task: Task) -> str:
        """Start `task`: `spec` holds `task`, a task type, and `variation`.

        Raises:
            ValueError: there is no such task type or variation.
            EnvironmentDied: the JVM ended.
        """
        name, variation = str(task.spec["task"]), int(task.spec["variation"])
        if name not in TASK_TYPES:
            raise ValueError(f"task {task.id}: ScienceWorld has no task type {name!r}")
        if variation not in range(TASK_TYPES[name].variations):
            raise ValueError(
                f"task {task.id}: {name} has {TASK_TYPES[name].variations} variations, counted from 0; "
                f"there is no {variation}"
            )
        if self._simulator is None or not self._simulator.alive:
            self.close()
            self._simulator = Simulator()
        self._simulator.load(name, variation)
        self._task, self._trail, self._best = task, [], 0.0
        return self._simulator.description()

    def step(self, action: str) -> StepResult:
        """Execute one action.

        Raises:
            EnvironmentDied: the JVM ended.
        """
        simulator = self._opened()
        observation = simulator.step(as_written(action))
        score = simulator.score()
        self._best = max(self._best, score)
        self._trail.append((action, observation))
        done = simulator.completed() or score < 0
        return StepResult(observation, self._best, done, observation not in REFUSALS)

    def fork(self) -> Self:
        """A copy on a JVM of its own, brought to the same state by replaying every action.

        Raises:
            ReplayMismatch: the simulator answered an action differently the second time.
        """
        self._opened()
        assert self._task is not None
        copy = type(self)()
        try:
            copy.replay(self._task, self._trail)
        except BaseException:
            copy.close()
            raise
        return copy

    def replay(self, task: Task, trail: list[tuple[str, str]]) -> None:
        """Start `task` and execute (action, observation) pairs, checking every observation.

        Raises:
            ReplayMismatch: an observation differs.
        """
        self.reset(task)
        for index, (action, recorded) in enumerate(trail):
            found = self.step(action).observation
            if found != recorded:
                raise ReplayMismatch(task.id, index, action, recorded, found)

    def close(self) -> None:
        """End the JVM."""
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = None

    def _opened(self) -> Simulator:
        if self._simulator is None:
            raise RuntimeError("no task is open: call reset(task) first")
        return self._simulator
