"""The memory of compiled games: many open at once, and very many one after another."""

from __future__ import annotations

import gc
import multiprocessing
import resource
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from alfworld_compiled import CompiledGame
from alfworld_compiled.games import read_game

_OPENED = 1000
_SETTLED = 200
_HELD = 200


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory, in MB: the increase for each of `open_games` that are open at once, and the increase
    between the game `settled_after` and the game `opened` while games are opened, played and closed in
    turn."""

    open_games: int
    mb_a_game: float
    opened: int
    settled_after: int
    growth_mb: float


def measure_memory(games: Sequence[Path], cache: Path) -> Memory:
    """Measure, in a separate process, over `games` that are already compiled in `cache`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, list(games), cache).result()


def _measure(games: list[Path], cache: Path) -> Memory:
    held = [_play(games[0], cache)]
    before = _resident_mb()
    held += [_play(game, cache) for game in games[1 : _HELD + 1]]
    after = _resident_mb()
    many = len(held) - 1
    held.clear()
    settled = 0.0
    for number, game in enumerate(islice(cycle(games), _OPENED), 1):
        _play(game, cache)
        if number == _SETTLED:
            settled = _resident_mb()
    return Memory(many, (after - before) / max(1, many), _OPENED, _SETTLED, _resident_mb() - settled)


def _play(path: Path, cache: Path) -> CompiledGame:
    """The game, after its walkthrough was played, so that its lazy parts are loaded."""
    game = CompiledGame.load(path, cache)
    state = game.initial
    for command in [*read_game(path).walkthrough, "look", "inventory"]:
        state, _ = game.step(state, command)
        game.admissible(state)
    return game


def _resident_mb() -> float:
    gc.collect()
    status = Path("/proc/self/statm")
    if not status.exists():
        raise OSError(
            "memory is read from /proc/self/statm, which this system does not have: run this on Linux"
        )
    return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
