"""One game being played with a step limit, with ALFWorld's `infos`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from alfworld_compiled.cache import default_cache
from alfworld_compiled.engine import CompiledEpisode, CompiledGame

STEP_LIMIT = 50
"""ALFWorld's own limit: `max_nb_steps_per_episode` of its configurations."""

_OPEN_GAMES = 256
"""A process keeps this many compiled games open, of about 1 MB each."""


class Play:
    """An episode with a step limit: `score` is 1 while the goal holds; `done` if it holds or no step is
    left."""

    __slots__ = ("_episode", "_limit", "_steps", "game_file", "observation", "won")

    def __init__(self, game_file: Path, episode: CompiledEpisode, limit: int | None) -> None:
        self.game_file, self._episode, self._limit = game_file, episode, limit
        self._steps = 0
        self.observation = episode.intro
        self.won = episode.won()

    @classmethod
    def start(cls, game_file: Path, limit: int | None, cache: Path | None) -> Self:
        """Open a game; with `limit` None there is no step limit.

        Raises:
            GameError: it is missing, malformed or unsupported.
        """
        return cls(game_file, open_game(game_file, cache or default_cache()).start(), limit)

    @property
    def score(self) -> float:
        return float(self.won)

    @property
    def out_of_steps(self) -> bool:
        return self._limit is not None and self._steps >= self._limit

    @property
    def done(self) -> bool:
        return self.won or self.out_of_steps

    def step(self, command: str) -> str:
        self.observation = self._episode.step(command)
        self.won = self._episode.won()
        self._steps += 1
        return self.observation

    def info(self) -> dict[str, Any]:
        """`won`, `admissible_commands` and `extra.gamefile`, as in ALFWorld's `infos`.

        ALFWorld gives the game's file only at `reset`, and None afterwards.
        """
        return {
            "won": self.won,
            "admissible_commands": self._episode.admissible(),
            "extra.gamefile": str(self.game_file),
        }

    def fork(self) -> Self:
        """An independent copy in the same state, with the same number of steps left."""
        copy = type(self)(self.game_file, self._episode.fork(), self._limit)
        copy._steps, copy.observation = self._steps, self.observation
        return copy


def open_game(game_file: Path, cache: Path) -> CompiledGame:
    """The game. A process reads it once, unless its file changes."""
    try:
        status = game_file.stat()
        written = (status.st_mtime_ns, status.st_size)
    except OSError:
        written = (0, 0)
    return _opened(game_file, cache, written)


@lru_cache(_OPEN_GAMES)
def _opened(game_file: Path, cache: Path, written: tuple[int, int]) -> CompiledGame:
    return CompiledGame.load(game_file, cache)
