"""Compiling many games ahead of their first use, on all cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from alfworld_compiled.cache import is_compiled, open_program
from alfworld_compiled.refusal import UnsupportedGame

_WORTH_PROCESSES = 16


def compile_ahead(games: Sequence[Path], folder: Path, done: Callable[[], None]) -> dict[Path, str]:
    """Compile those of `games` that the cache `folder` lacks; returns the refused ones with their construct.

    `done` is called once for each game.

    Raises:
        GameError: a game is missing or malformed.
    """
    missing = []
    for game in games:
        if is_compiled(game, folder):
            done()
        else:
            missing.append(game)
    refused: dict[Path, str] = {}
    for game, construct in zip(missing, _compile_all(missing, folder), strict=True):
        done()
        if construct is not None:
            refused[game] = construct
    return refused


def _compile_all(games: Sequence[Path], folder: Path) -> Iterator[str | None]:
    compile_one = partial(_refusal, folder)
    workers = min(os.cpu_count() or 1, len(games) // _WORTH_PROCESSES)
    if workers < 2 or multiprocessing.current_process().daemon:
        yield from map(compile_one, games)
        return
    # A multiprocessing.Pool waits for ever where a worker dies, and now and then when it ends its own.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(compile_one, games, chunksize=4)


def _refusal(folder: Path, game: Path) -> str | None:
    """What of `game` the compiler refuses, if it does."""
    try:
        open_program(game, folder)
    except UnsupportedGame as error:
        return error.construct
    return None
