"""`sand bench environments --environment scienceworld`: our environment against the package's public `step`.

python -m sand_dagster.bench.scienceworld [--types NAME ...] [--variations N] [--walk N] [--forks N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from scienceworld import ScienceWorldEnv

from sand_dagster.environments.scienceworld.environment import ScienceWorldEnvironment
from sand_dagster.environments.scienceworld.gold_paths import gold_path
from sand_dagster.environments.scienceworld.simulator import JAVA_OPTIONS, Simulator
from sand_dagster.environments.scienceworld.specification import spec_of
from sand_dagster.environments.scienceworld.task_types import TASK_TYPES
from sand_dagster.types import Task

_STEP_RATIO = 5.0
_UNLIMITED = 1_000_000_000
_NONSENSE = ("dance", "focus on the moon", "teleport to nowhere", "pick up", "7", "Look  Around")
_NONSENSE_SHARE = 0.15

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """The point where the two differed: `actions` lead there from the start of the task."""

    task: str
    what: str
    actions: list[str]
    public: Any
    bare: Any


@dataclass(frozen=True, slots=True)
class Timing:
    """Median milliseconds, and how many times as long the public package takes."""

    public_ms: float
    bare_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a run.

    `fork` compares our fork with loading and replaying by the public step, in a JVM that is already running,
    at the same states.
    """

    task_types: int
    tasks: int
    steps: int
    completed: int
    not_completed: list[str]
    differences: int
    first_difference: Difference | None
    forks: int
    exact_forks: int
    step: Timing
    fork: Timing
    seconds: float
    machine: dict[str, str]

    @property
    def targets(self) -> dict[str, bool]:
        """Which targets are met."""
        return {
            "no difference": self.differences == 0,
            f"step {_STEP_RATIO:g}x": self.step.ratio >= _STEP_RATIO,
            "every fork exact": self.exact_forks == self.forks,
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {**asdict(self), "targets": self.targets}

    def render(self) -> RenderableType:
        """For a terminal."""
        table = Table("", "public, ms", "bare, ms", "ratio", title="Median times")
        for name, timing in (("step", self.step), ("fork", self.fork)):
            table.add_row(name, f"{timing.public_ms:.1f}", f"{timing.bare_ms:.1f}", f"{timing.ratio:.1f}x")
        lines = [
            f"{self.task_types} task types, {self.tasks} tasks, {self.steps} steps, "
            f"{self.completed} gold paths completed, "
            f"{self.differences} differences; "
            f"{self.exact_forks} of {self.forks} forks exact; {self.seconds:.0f} s",
            "machine: " + ", ".join(f"{key} {value}" for key, value in self.machine.items()),
            *(f"{'met   ' if met else 'MISSED'} {target}" for target, met in self.targets.items()),
        ]
        if self.first_difference is not None:
            lines.append("first difference:\n" + json.dumps(asdict(self.first_difference), indent=2))
        return Group(table, Text("\n".join(lines)))


@dataclass(slots=True)
class _Tally:
    steps: int = 0
    not_completed: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    forks: int = 0
    exact_forks: int = 0
    public_s: list[float] = field(default_factory=list)
    bare_s: list[float] = field(default_factory=list)
    public_fork_s: list[float] = field(default_factory=list)
    bare_fork_s: list[float] = field(default_factory=list)


def run(
    task_types: Sequence[str] = tuple(TASK_TYPES),
    variations: int = 3,
    walk: int = 10,
    forks: int = 100,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Play the gold path and a random walk of `walk` steps in `variations` of each task type, on both.

    `forks` forks are taken at states drawn from the same games, and each is stepped once beside its origin.
    The public environment runs with the same simplifications and the same flags of the JVM; without these
    flags neither environment is repeatable.
    """
    tally, start = _Tally(), time.monotonic()
    tasks = [task for name in task_types for task in _tasks(name, variations, seed)]
    quotas = [forks // len(tasks) + (i < forks % len(tasks)) for i in range(len(tasks))]
    with (
        public_environment() as public,
        closing(ScienceWorldEnvironment()) as bare,
        closing(Simulator()) as oracle,
    ):
        for done, (task, quota) in enumerate(zip(tasks, quotas, strict=True)):
            progress(done, len(tasks))
            random_source = random.Random(f"{seed}/{task.id}")
            if not _Pair(public, bare, task, tally).follow(gold_path(oracle, task)):
                tally.not_completed.append(task.id)
            pair = _Pair(public, bare, task, tally)
            pair.wander(walk, random_source)
            for number in range(quota):
                depth = random_source.randrange(len(pair.played))
                pair.fork(depth, timed=number == 0)
        progress(len(tasks), len(tasks))
    return Report(
        task_types=len(task_types),
        tasks=len(tasks),
        steps=tally.steps,
        completed=len(tasks) - len(tally.not_completed),
        not_completed=tally.not_completed,
        differences=len(tally.differences),
        first_difference=tally.differences[0] if tally.differences else None,
        forks=tally.forks,
        exact_forks=tally.exact_forks,
        step=_timing(tally.public_s, tally.bare_s),
        fork=_timing(tally.public_fork_s, tally.bare_fork_s),
        seconds=time.monotonic() - start,
        machine=_machine(),
    )


class _Pair:
    """The same task in the public environment and in ours, step by step."""

    def __init__(
        self, public: ScienceWorldEnv, bare: ScienceWorldEnvironment, task: Task, tally: _Tally
    ) -> None:
        self._public, self._bare, self._task, self._tally = public, bare, task, tally
        self.played: list[str] = []
        self._best = 0
        self._valid: list[str] = []
        self.done = False
        self._load()
        self._compare("instruction", public.taskdescription(), bare.reset(task))

    def follow(self, actions: Sequence[str]) -> bool:
        """Play until done; returns whether both say so."""
        for action in actions:
            if self.done:
                break
            self.step(action)
        return self.done

    def wander(self, steps: int, random_source: random.Random) -> None:
        """Play valid and some invalid actions, at random, until done."""
        for _ in range(steps):
            if self.done:
                return
            choices = (
                _NONSENSE if not self._valid or random_source.random() < _NONSENSE_SHARE else self._valid
            )
            self.step(random_source.choice(choices))

    def step(self, action: str) -> None:
        self.played.append(action)
        start = time.perf_counter()
        observation, _, completed, infos = self._public.step(action)
        middle = time.perf_counter()
        result = self._bare.step(action)
        self._tally.bare_s.append(time.perf_counter() - middle)
        self._tally.public_s.append(middle - start)
        self._tally.steps += 1
        self._best = max(self._best, infos["score"])
        # The simulator's order changes from run to run, but the walk has to be the same on every machine.
        self._valid = sorted(infos["valid"])
        self.done = bool(completed) and result.done
        self._compare("observation", observation, result.observation)
        self._compare("completed", bool(completed), result.done)
        self._compare("score", self._best, round(100 * result.reward))

    def fork(self, depth: int, timed: bool) -> None:
        """Fork after `depth` of the actions played; the next one has to do the same in both."""
        self._bare.reset(self._task)
        for action in self.played[:depth]:
            self._bare.step(action)
        start = time.perf_counter()
        with closing(self._bare.fork()) as fork:
            taken = time.perf_counter() - start
            self._tally.forks += 1
            action = self.played[depth]
            self._tally.exact_forks += self._bare.step(action) == fork.step(action)
        if timed:
            start = time.perf_counter()
            self._load()
            for action in self.played[:depth]:
                self._public.step(action)
            self._tally.public_fork_s.append(time.perf_counter() - start)
            self._tally.bare_fork_s.append(taken)

    def _load(self) -> None:
        spec = self._task.spec
        self._public.load(str(spec["task"]), int(spec["variation"]), str(spec["simplifications"]))

    def _compare(self, what: str, public: Any, bare: Any) -> None:
        if public != bare:
            self._tally.differences.append(Difference(self._task.id, what, list(self.played), public, bare))


@contextmanager
def public_environment() -> Iterator[ScienceWorldEnv]:
    """The package's environment with our flags of the JVM: it takes no options, but Java reads a variable."""
    before = os.environ.get("JAVA_TOOL_OPTIONS")
    os.environ["JAVA_TOOL_OPTIONS"] = " ".join(JAVA_OPTIONS)
    try:
        environment = ScienceWorldEnv(envStepLimit=_UNLIMITED)
    finally:
        if before is None:
            del os.environ["JAVA_TOOL_OPTIONS"]
        else:
            os.environ["JAVA_TOOL_OPTIONS"] = before
    try:
        yield environment
    finally:
        environment.close()


def _tasks(name: str, count: int, seed: int) -> list[Task]:
    """Up to `count` variations of a task type, drawn by `seed`."""
    there = TASK_TYPES[name].variations
    drawn = random.Random(f"{seed}/{name}").sample(range(there), min(count, there))
    where = "scienceworld"
    return [Task(f"{where}/{name}/{v}", where, "bench", name, _UNLIMITED, spec_of(name, v)) for v in drawn]


def _timing(slow: Sequence[float], fast: Sequence[float]) -> Timing:
    slower, faster = statistics.median(slow), statistics.median(fast)
    return Timing(slower * 1e3, faster * 1e3, slower / faster)


def _machine() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "scienceworld": version("scienceworld"),
    }


def main() -> int:
    """The command line; the exit status is 1 if a step or a fork differs."""
    parser = argparse.ArgumentParser(prog="python -m sand_dagster.bench.scienceworld", description=__doc__)
    parser.add_argument("--types", nargs="+", choices=TASK_TYPES, default=list(TASK_TYPES), metavar="NAME")
    parser.add_argument("--variations", type=int, default=3, help="variations of each task type")
    parser.add_argument("--walk", type=int, default=10, help="random steps in each variation")
    parser.add_argument("--forks", type=int, default=100, help="forks in all")
    parser.add_argument("--seed", type=int, default=0, help="draws variations, walks and forks")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with Console(stderr=True).status("comparing") as status:
        report = run(
            options.types,
            options.variations,
            options.walk,
            options.forks,
            options.seed,
            lambda done, total: status.update(f"compared {done} of {total} tasks"),
        )
    if options.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        Console().print(report.render())
    return 1 if report.differences or report.exact_forks < report.forks else 0


if __name__ == "__main__":
    sys.exit(main())
