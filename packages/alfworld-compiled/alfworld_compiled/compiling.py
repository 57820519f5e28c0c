"""The compiled form of one game, from the cache or made now; and of many games, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue

from alfworld_compiled.cache import is_compiled, place_of, read_program
from alfworld_compiled.compile_process import CompileProcess, warm_process
from alfworld_compiled.games import GameError
from alfworld_compiled.limits import Limits
from alfworld_compiled.program import Program
from alfworld_compiled.refusal import UnsupportedGame

_WORTH_A_PROCESS = 8
"""A process is started for every so many games: its start costs as much as about five games."""


def open_program(game: Path, folder: Path, limits: Limits | None = None) -> Program:
    """The compiled form of `game`: from the cache `folder` if it is there, otherwise compiled and stored
    there.

    A separate process compiles it, within `limits`.

    Raises:
        GameError: the game is missing, malformed or unsupported.
    """
    place = place_of(game, folder)
    program = read_program(place)
    if program is None:
        with warm_process() as process:
            process.compile(game, folder, limits or Limits())
        program = read_program(place)
    if program is None:
        raise GameError(
            f"{game} was compiled, but it is not in {place}: was one of them changed at the same time?"
        )
    return program


def compile_ahead(
    games: Sequence[Path], folder: Path, done: Callable[[], None] = lambda: None, limits: Limits | None = None
) -> dict[Path, str]:
    """Compile those of `games` that are not in the cache `folder`; returns the refused ones with their
    construct.

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
    workers = max(1, min(os.cpu_count() or 1, len(missing) // _WORTH_A_PROCESS))
    idle: SimpleQueue[CompileProcess] = SimpleQueue()

    def compile_one(game: Path) -> str | None:
        process = idle.get()
        try:
            process.compile(game, folder, limits or Limits())
        except UnsupportedGame as error:
            return error.construct
        finally:
            idle.put(process)
        return None

    with ExitStack() as ending, ThreadPoolExecutor(workers) as threads:
        for _ in range(workers):
            idle.put(ending.enter_context(CompileProcess()))
        try:
            for game, construct in zip(missing, threads.map(compile_one, missing), strict=True):
                done()
                if construct is not None:
                    refused[game] = construct
        finally:
            threads.shutdown(cancel_futures=True)
    return refused
