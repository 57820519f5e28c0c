"""ScienceWorld for SAND's agent."""

from __future__ import annotations

from typing import ClassVar, Self

from sand_dagster.environments.scienceworld.domain import REFUSALS, as_written
from sand_dagster.environments.scienceworld.simulator import Simulator
from sand_dagster.environments.scienceworld.specification import simplifications_of
from sand_dagster.environments.scienceworld.task_types import TASK_TYPES
from sand_dagster.interfaces import ReplayMismatch
from sand_dagster.types import StepResult, Task

_SPARES = 2


class _Spares:
    """JVMs that closed forks of an environment leave for its next forks. They end with the environment."""

    def __init__(self) -> None:
        self._simulators: list[Simulator] | None = []

    def take(self) -> Simulator:
        """A running JVM; a new one if none is free."""
        while self._simulators:
            simulator = self._simulators.pop()
            if simulator.alive:
                return simulator
        return Simulator()

    def give(self, simulator: Simulator) -> None:
        if self._simulators is None or len(self._simulators) == _SPARES:
            simulator.close()
        else:
            self._simulators.append(simulator)

    def close(self) -> None:
        for simulator in self._simulators or ():
            simulator.close()
        self._simulators = None


class ScienceWorldEnvironment:
    """See `Environment`.

    The instruction u is only the task description, as in ETO's data: the first look at the room is an
    ordinary action. The reward is the running maximum of the raw score, at least 0: a wrong
    `focus on` ends the episode and does not lower the reward. After `Ambiguous request: …` the simulator
    waits for a number; any other action cancels the request and is not executed. This is kept unchanged.

    In every task bees move at random, because their hive is open. After each step the random source is
    advanced as by the package's public step, which lists all valid actions and draws numbers for their names.

    The JVM is started by the first `reset` and kept for the next ones; if it died, the next `reset` replaces
    it. A fork has its own JVM. The fork's `close` leaves the JVM to the origin's next fork, and the origin's
    `close` ends it.
    """

    exclusive: ClassVar[bool] = True
    cheap_fork: ClassVar[bool] = False

    def __init__(self, origin: Self | None = None) -> None:
        self._simulator: Simulator | None = None
        self._spares: _Spares = _Spares() if origin is None else origin._spares
        self._is_fork = origin is not None
        self._task: Task | None = None
        self._trail: list[tuple[str, str]] = []
        self._best = 0.0

    def reset(self, task: Task) -> str:
        """Start `task`: `spec` is `spec_of` its task type and variation.

        Raises:
            ValueError: there is no such task type or variation, or the task was made for another version of
                the simulator, or of this project.
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
        simplifications = simplifications_of(task)
        if self._simulator is None or not self._simulator.alive:
            if self._simulator is not None:
                self._simulator.close()
            self._simulator = self._spares.take()
        self._simulator.load(name, variation, simplifications)
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
        simulator.draw_as_listing_does()
        self._best = max(self._best, score)
        self._trail.append((action, observation))
        done = simulator.completed() or score < 0
        return StepResult(observation, self._best, done, observation not in REFUSALS)

    def fork(self) -> Self:
        """A copy on another JVM, brought to the same state by replaying every action.

        Raises:
            ReplayMismatch: the simulator answered an action differently the second time.
        """
        self._opened()
        assert self._task is not None
        copy = type(self)(self)
        try:
            copy.reset(self._task)
            for index, (action, recorded) in enumerate(self._trail):
                found = copy.step(action).observation
                if found != recorded:
                    raise ReplayMismatch(self._task.id, index, action, recorded, found)
        except BaseException:
            copy.close()
            raise
        return copy

    def close(self) -> None:
        """End the JVM; a fork leaves its JVM to the next fork."""
        if self._simulator is not None:
            if self._is_fork:
                self._spares.give(self._simulator)
            else:
                self._simulator.close()
            self._simulator = None
        if not self._is_fork:
            self._spares.close()

    def _opened(self) -> Simulator:
        if self._simulator is None:
            raise RuntimeError("no task is open: call reset(task) first")
        return self._simulator
