"""Both ALFWorld engines side by side over the same commands, compared and timed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alfworld_compiled import CompiledEpisode, CompiledGame
from alfworld_compiled.bench.walks import Walker
from alfworld_compiled.episode import REFUSAL
from alfworld_compiled.games import read_game
from alfworld_compiled.stock import StockEpisode, load_stock

_FORK_DEPTH = 10
_FORK_REPEATS = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """The point where the engines differed: `commands` lead there from the start of the game."""

    game: str
    what: str
    commands: list[str]
    stock: Any
    compiled: Any


@dataclass(slots=True)
class Samples:
    """Seconds that each engine took for the same action, one entry for each time."""

    stock: list[float] = field(default_factory=list)
    compiled: list[float] = field(default_factory=list)


OPERATIONS = ("compile", "load", "reset", "step", "step_with_admissible", "fork_at_depth_10")


@dataclass(slots=True)
class Tally:
    """Counts and times over all games so far."""

    games: int = 0
    steps: int = 0
    wins: int = 0
    verbs: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    times: dict[str, Samples] = field(default_factory=lambda: {o: Samples() for o in OPERATIONS})


def compare(path: Path, name: str, seed: int, walk: int, cache: Path, tally: Tally) -> None:
    """Play the walkthrough with more random steps after it, then a random walk from the start, on both
    engines.

    The random walk has `walk` steps, the one after the walkthrough half as many. Everything is added to
    `tally`.

    Raises:
        GameError: the game cannot be opened; `UnsupportedGame` if the compiler refuses it.
    """
    start = time.perf_counter()
    CompiledGame.load(path, cache)
    tally.times["compile"].compiled.append(time.perf_counter() - start)
    start = time.perf_counter()
    game = CompiledGame.load(path, cache)
    tally.times["load"].compiled.append(time.perf_counter() - start)

    start = time.perf_counter()
    environment = load_stock(path)
    for operation in ("load", "compile"):
        tally.times[operation].stock.append(time.perf_counter() - start)
    stock = StockEpisode(path, environment)

    tally.games += 1
    walkthrough = read_game(path).walkthrough
    first = _Side(name, stock, CompiledEpisode(game), tally)
    if not first.follow(list(walkthrough)):
        return
    tally.wins += stock.won()
    if not first.wander(Walker(f"{seed}/{name}/won"), walk // 2):
        return
    start = time.perf_counter()
    stock.reset()
    tally.times["reset"].stock.append(time.perf_counter() - start)
    start = time.perf_counter()
    play = CompiledEpisode(game)
    tally.times["reset"].compiled.append(time.perf_counter() - start)
    second = _Side(name, stock, play, tally)
    if second.wander(Walker(f"{seed}/{name}"), walk):
        _time_fork(stock, play, second.commands, game, tally.times["fork_at_depth_10"])


class _Side:
    """An episode on both engines."""

    def __init__(self, name: str, stock: StockEpisode, compiled: CompiledEpisode, tally: Tally) -> None:
        self._name, self._stock, self._compiled, self._tally = name, stock, compiled, tally
        self.commands: list[str] = []

    def follow(self, commands: list[str]) -> bool:
        """Play `commands`; returns whether the engines agreed to the end."""
        return self._agree_at_start() and all(self._step(command) for command in commands)

    def wander(self, walker: Walker, steps: int) -> bool:
        """Play the commands of `walker`; returns whether the engines agreed to the end."""
        return self._agree_at_start() and all(
            self._step(walker.choose(self._stock.admissible())) for _ in range(steps)
        )

    def _agree_at_start(self) -> bool:
        return bool(self.commands) or (
            self._same("intro", self._stock.intro, self._compiled.intro)
            and self._same("admissible commands", self._stock.admissible(), self._compiled.admissible())
        )

    def _step(self, command: str) -> bool:
        times = self._tally.times
        before = self._compiled.fork()
        start = time.perf_counter()
        expected = self._stock.step(command)
        stock_time = time.perf_counter() - start
        start = time.perf_counter()
        found = self._compiled.step(command)
        times["step"].compiled.append(time.perf_counter() - start)
        start = time.perf_counter()
        before.step(command)
        admissible = before.admissible()
        times["step_with_admissible"].compiled.append(time.perf_counter() - start)
        for operation in ("step", "step_with_admissible"):
            times[operation].stock.append(stock_time)

        self.commands.append(command)
        self._tally.steps += 1
        self._tally.verbs["(refused)" if expected == REFUSAL else command.split()[0]] += 1
        won = self._compiled.won()
        return (
            self._same("observation", expected, found)
            and self._same("reward", self._stock.score, int(won))
            and self._same("done", self._stock.done, won)
            and self._same("admissible commands", self._stock.admissible(), admissible)
        )

    def _same(self, what: str, stock: object, compiled: object) -> bool:
        if stock == compiled:
            return True
        self._tally.differences.append(Difference(self._name, what, list(self.commands), stock, compiled))
        return False


def _time_fork(
    stock: StockEpisode, play: CompiledEpisode, commands: list[str], game: CompiledGame, samples: Samples
) -> None:
    """A fork at depth 10: the stock engine can only go back to the start and play the commands again."""
    start = time.perf_counter()
    stock.reset()
    for command in commands[:_FORK_DEPTH]:
        stock.step(command)
    samples.stock.append(time.perf_counter() - start)
    play = CompiledEpisode(game)
    for command in commands[:_FORK_DEPTH]:
        play.step(command)
    samples.compiled.append(_mean_time(play.fork))


def _mean_time(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(_FORK_REPEATS):
        call()
    return (time.perf_counter() - start) / _FORK_REPEATS
