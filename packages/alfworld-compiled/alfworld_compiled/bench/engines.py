"""The compiled engine against the stock one over many games: compared, and timed."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alfworld_compiled.bench.comparison import OPERATIONS, Difference, Samples, Tally, compare
from alfworld_compiled.bench.memory import Memory, measure_memory
from alfworld_compiled.bench.throughput import BATCH, Throughput, measure_throughput
from alfworld_compiled.games import SPLITS, GameError, list_games, locate
from alfworld_compiled.refusal import UnsupportedGame

_WALK = 30
"""Random steps from a game's start; half as many more follow its walkthrough."""

_TARGETS = {"compile": 1.0, "reset": 300.0, "step": 100.0, "fork_at_depth_10": 1000.0}
"""Targets: the stock engine's median time divided by the compiled engine's, at least."""

_MAX_STEP_MS = 1.0
_MAX_LOAD_MS = 20.0
_MAX_GAME_MB = 2.0
_FLAT_MB = 8.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Median milliseconds, and how many times as long the stock engine takes."""

    stock_ms: float
    compiled_ms: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a run. `refused` are the games that the compiler refuses, with the construct."""

    games: int
    left: int
    """Games that were drawn but not started, because the time was over."""

    steps: int
    wins: int
    verbs: dict[str, int]
    refused: dict[str, str]
    differences: int
    first_difference: Difference | None
    timings: dict[str, Timing]
    memory: Memory
    throughput: Throughput
    seconds: float
    machine: dict[str, str]

    @property
    def targets(self) -> dict[str, bool]:
        """Which targets are met."""
        ratios = {f"{o} {r:g}x": self.timings[o].ratio >= r for o, r in _TARGETS.items() if o in self.timings}
        return {
            "no difference": self.differences == 0,
            "same episodes in every interface": self.throughput.same_episodes,
            **ratios,
            f"step below {_MAX_STEP_MS:g} ms": self.timings["step"].compiled_ms < _MAX_STEP_MS,
            f"cached open below {_MAX_LOAD_MS:g} ms": self.timings["load"].compiled_ms < _MAX_LOAD_MS,
            f"a game open below {_MAX_GAME_MB:g} MB": self.memory.mb_a_game < _MAX_GAME_MB,
            "memory flat": self.memory.growth_mb < _FLAT_MB,
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {**asdict(self), "targets": self.targets}

    def render(self) -> str:
        """For a terminal."""
        lines = [f"{'median times':20}{'stock, ms':>12}{'compiled, ms':>15}{'ratio':>10}"]
        for operation, timing in self.timings.items():
            ratio = f"{timing.ratio:,.0f}x" if timing.ratio >= 10 else f"{timing.ratio:.2f}x"
            name = operation.replace("_", " ")
            lines.append(f"{name:20}{timing.stock_ms:12,.1f}{timing.compiled_ms:15.4f}{ratio:>10}")
        lines += [
            "",
            self.throughput.render(),
            "",
            f"{self.games} games ({self.left} left), {self.steps} steps, {self.wins} walkthroughs won, "
            f"{self.differences} differences, {len(self.refused)} games refused; {self.seconds:.0f} s",
            "commands: " + ", ".join(f"{verb} {count}" for verb, count in self.verbs.items()),
            f"memory: {self.memory.mb_a_game:.2f} MB a game open ({self.memory.open_games} games); "
            f"{self.memory.growth_mb:+.1f} MB from game {self.memory.settled_after} to {self.memory.opened}, "
            "played one after another",
            "machine: " + ", ".join(f"{key} {value}" for key, value in self.machine.items()),
            *(f"{'met   ' if met else 'MISSED'} {target}" for target, met in self.targets.items()),
            *(f"refused {game}: {construct}" for game, construct in list(self.refused.items())[:10]),
        ]
        if self.first_difference is not None:
            lines.append("first difference:\n" + json.dumps(asdict(self.first_difference), indent=2))
        return "\n".join(lines)


def run(
    games: Path,
    limit: int | None,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    minutes: float | None = None,
) -> Report:
    """Compare the engines over `limit` games of the folder `games`, drawn by `seed`; all if `limit` is None.

    After `minutes` no new game is started, and the report says how many were left.

    It compiles into a new folder, so that the times do not depend on what was compiled before.

    Raises:
        GameError: there are no games, or one cannot be read.
    """
    names = [game for split in SPLITS for game in list_games(games, split)]
    if not names:
        raise GameError(f"{games} holds no game.tw-pddl in {', '.join(SPLITS)}")
    if limit is not None and limit < len(names):
        names = random.Random(seed).sample(names, limit)
    tally, refused, start = Tally(), dict[str, str](), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="alfworld-compiled-bench-") as folder:
        for done, name in enumerate(names):
            if minutes is not None and done and time.monotonic() - start > minutes * 60:
                break
            progress(done, len(names))
            try:
                compare(locate(games, name), name, seed, _WALK, Path(folder), tally)
            except UnsupportedGame as error:
                refused[name] = error.construct
        progress(len(names), len(names))
        begun = names[: tally.games + len(refused)]
        played = [locate(games, n) for n in begun if n not in refused]
        memory = measure_memory(played, Path(folder))
        throughput = measure_throughput(played[:BATCH], seed, Path(folder))
    return Report(
        games=tally.games,
        left=len(names) - len(begun),
        steps=tally.steps,
        wins=tally.wins,
        verbs=dict(tally.verbs.most_common()),
        refused=refused,
        differences=len(tally.differences),
        first_difference=tally.differences[0] if tally.differences else None,
        timings={o: _timing(tally.times[o]) for o in OPERATIONS if tally.times[o].stock},
        memory=memory,
        throughput=throughput,
        seconds=time.monotonic() - start,
        machine=_machine(),
    )


def _timing(samples: Samples) -> Timing:
    stock, compiled = statistics.median(samples.stock), statistics.median(samples.compiled)
    return Timing(stock * 1e3, compiled * 1e3, stock / compiled)


def _machine() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        **{name: version(name) for name in ("alfworld", "textworld", "fast-downward-textworld")},
    }
