"""`sand bench rollouts`: SAND's rollouts, played four ways, with stock and with our environments.

The work is that of Section 4.3: candidates at steps of demonstrations, executed after the replayed history
and played to the end, at temperature 0, so that every arm plays the same games and must win the same.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sand_dagster.bench.arms import Job, Outcome, arms
from sand_dagster.bench.stand_in import StandInModel
from sand_dagster.environments import environment_kind
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.generation.engines import engines
from sand_dagster.generation.settings import GenerationSettings, ModelSource
from sand_dagster.household_model import weights
from sand_dagster.sand.interfaces import Generator
from sand_dagster.sand.play import Agent
from sand_dagster.sand.turns import Reply
from sand_dagster.sand.types import Sampling, Task, Trajectory

_TURN_TOKENS = 96
_SLOTS = 64
_LATENCIES_MS = (0, 50, 200)
_FALLBACK = ("look", "inventory", "go to shelf 1")
_SETTINGS = {
    "household": {"train": 24, "seen": 0, "unseen": 0},
    "scienceworld": {"task_types": ["find-non-living-thing", "find-living-thing"], "limits": {"train": 8}},
}
_ENGINES = {"household": ("stock", "compiled"), "scienceworld": ("bare",)}
_OURS = "d: ours"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One arm on one engine. `bound_share` is the bound's time over the measured, at most 1.

    The bound is the longest of: the environments' CPU time over the cores, the turns over the model's peak
    rate, and the longest rollout.
    """

    model: str
    arm: str
    engine: str
    rollouts: int
    seconds: float
    rollouts_per_second: float
    environment_cpu_s: float
    bound_share: float


@dataclass(frozen=True, slots=True)
class Report:
    """All arms. `differences` are rollouts whose reward is not the same in every arm."""

    environment: str
    cores: int
    in_flight: int
    measurements: list[Measurement]
    differences: list[str]

    def ratio(self, model: str, arm: str, engine: str, to_arm: str, to_engine: str) -> float:
        """How many times as many rollouts a second."""
        return self._rate(model, arm, engine) / self._rate(model, to_arm, to_engine)

    def _rate(self, model: str, arm: str, engine: str) -> float:
        found = (m for m in self.measurements if (m.model, m.arm, m.engine) == (model, arm, engine))
        return next(found).rollouts_per_second

    def to_json(self) -> dict[str, Any]:
        """All figures, for a program."""
        return asdict(self)

    def render(self) -> RenderableType:
        """All figures, for a person."""
        base = _ENGINES[self.environment][0]
        table = Table(title=f"Rollouts in {self.environment}, {self.in_flight} in flight, {self.cores} cores")
        for column in ("model", "arm", "environment", "rollouts", "rollouts/s", "× a", "× c", "of the bound"):
            table.add_column(column, justify="left" if column in ("model", "arm", "environment") else "right")
        names = list(dict.fromkeys(m.arm for m in self.measurements))
        for m in self.measurements:
            over = [self.ratio(m.model, m.arm, m.engine, names[k], base) for k in (0, 2)]
            table.add_row(
                *(m.model, m.arm, m.engine, str(m.rollouts), f"{m.rollouts_per_second:.2f}"),
                *(f"{ratio:.1f}" for ratio in over),
                f"{m.bound_share:.0%}",
            )
        compared = Text(f"Ratios are to the arms on the {base} environment.")
        verdict = Text("\n".join(self.differences) or "All arms won the same rewards, rollout by rollout.")
        return Group(table, compared, verdict)


@dataclass(frozen=True, slots=True)
class Served:
    """A model to play with: `peak` is its highest rate, in turns a second."""

    name: str
    model: Generator
    peak: float


def run(environment: str, rollouts: int, in_flight: int, progress: Callable[[int, int], None]) -> Report:
    """Play `rollouts` rollouts in every arm; (a), (b) and the stock environments a quarter of them each."""
    with tempfile.TemporaryDirectory(prefix="sand-bench-") as home:
        return engines.run(_run(environment, rollouts, in_flight, Path(home), progress))


async def _run(
    environment: str, rollouts: int, in_flight: int, home: Path, progress: Callable[[int, int], None]
) -> Report:
    cores = len(os.sched_getaffinity(0))
    kind = environment_kind(environment)
    options = kind.Options.model_validate(_SETTINGS[environment])
    tasks = [task for task in kind.tasks(options, home, lambda *_: None) if task.split == "train"]
    experts = list(kind.experts(options, home, tasks, lambda *_: None))
    jobs = make_jobs(experts, rollouts)
    scripts = {
        (expert.instruction, turn): step.action
        for expert in experts
        for turn, step in enumerate(expert.steps)
    }
    measurements: list[Measurement] = []
    rewards: dict[tuple[str, int], set[float]] = {}
    ways = arms(cores, in_flight)
    total = (1 + len(_LATENCIES_MS)) * len(ways) * len(_ENGINES[environment])

    async for served in _models(scripts, jobs, kind.DOMAIN):
        agent = Agent("bench", served.model, kind.DOMAIN, _TURN_TOKENS)
        for engine in _ENGINES[environment]:
            chosen = options if engine == "bare" else options.model_copy(update={"engine": engine})
            for name, arm in ways.items():
                slowness = (1 if name[0] in "cd" else 4) * (4 if engine == "stock" else 1)
                played = jobs[: max(1, len(jobs) // slowness)]
                async with EnvironmentPool(environment, chosen, home, workers=cores) as pool:
                    if engine != "stock":  # which keeps nothing of a game
                        await _warm(pool, tasks)
                    cpu, started = _cpu(pool.pids), time.perf_counter()
                    outcomes = await arm(played, pool, agent)
                    seconds, cpu = time.perf_counter() - started, _cpu(pool.pids) - cpu
                for index, outcome in enumerate(outcomes):
                    rewards.setdefault((served.name, index), set()).add(outcome.reward)
                measurements.append(_measure(served, name, engine, outcomes, seconds, cpu, cores))
                progress(len(measurements), total)
    differences = [
        f"{model}, rollout {index}: rewards {sorted(found)}"
        for (model, index), found in rewards.items()
        if len(found) > 1
    ]
    return Report(environment, cores, in_flight, measurements, differences)


def make_jobs(experts: Sequence[Trajectory], count: int) -> list[Job]:
    """`count` candidates along the demonstrations: the expert's action and another's, at every step in turn.

    In an order that a quarter of them is a fair sample of.
    """
    jobs = [
        Job(expert.task, expert.steps[:t], Reply("", action))
        for expert in experts
        for t, step in enumerate(expert.steps)
        for action in dict.fromkeys((step.action, expert.steps[t - 1].action, "look"))
    ]
    random.Random(0).shuffle(jobs)
    chosen = jobs[:count]
    if len(chosen) < count:
        raise ValueError(f"the demonstrations give {len(jobs)} candidates; ask for at most as many rollouts")
    return chosen


@asynccontextmanager
async def _vllm(jobs: Sequence[Job], domain: Any) -> AsyncIterator[Served]:
    settings = GenerationSettings(context=4096)
    async with engines.open(ModelSource(model=str(weights())), settings) as model:
        agent = Agent("bench", model, domain, _TURN_TOKENS)
        prompts = [agent.prompt(job.task.id, job.history) for job in jobs[:_SLOTS]] * 2
        await model.complete(prompts[0], Sampling(0.0, 8))
        started = time.perf_counter()
        await asyncio.gather(*(model.complete(prompt, Sampling(0.0, _TURN_TOKENS)) for prompt in prompts))
        yield Served("household, vLLM", model, len(prompts) / (time.perf_counter() - started))


async def _models(
    scripts: dict[tuple[str, int], str], jobs: Sequence[Job], domain: Any
) -> AsyncIterator[Served]:
    for latency in _LATENCIES_MS:
        peak = _SLOTS / (latency / 1000) if latency else float("inf")
        model = StandInModel(latency / 1000, _SLOTS, scripts, _FALLBACK)
        yield Served(f"stand-in, {latency} ms", model, peak)
    async with _vllm(jobs, domain) as served:
        yield served


async def _warm(pool: EnvironmentPool, tasks: Sequence[Task]) -> None:
    """Open every task once: loading a game for the first time is not what is measured."""
    for task in tasks:
        await (await pool.open(task)).close()


def _measure(
    served: Served,
    arm: str,
    engine: str,
    outcomes: Sequence[Outcome],
    seconds: float,
    cpu_s: float,
    cores: int,
) -> Measurement:
    turns = sum(outcome.turns for outcome in outcomes)
    alone = min(outcome.seconds / max(outcome.turns, 1) for outcome in outcomes)
    longest = max(outcome.turns for outcome in outcomes) * alone
    bound = max(cpu_s / cores, turns / served.peak, longest)
    return Measurement(
        served.name,
        arm,
        engine,
        len(outcomes),
        seconds,
        len(outcomes) / seconds,
        cpu_s,
        min(1.0, bound / seconds),
    )


def _cpu(sessions: Collection[int]) -> float:
    """CPU seconds of all processes in these sessions: each worker has its own, with what it starts."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) in sessions:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
