"""Many games at once in ALFWorld's own interface: lists in, lists out."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

from alfworld_compiled.games import find_games
from alfworld_compiled.order import GameOrder
from alfworld_compiled.play import STEP_LIMIT, Play

Infos = dict[str, list[Any]]
"""`won`, `admissible_commands` and `extra.gamefile`, each with one entry for each game."""

STOCK_SEED = 1234
"""The seed of textworld's own order of games."""


class AlfworldBatchEnv:
    """The same as `AlfredTWEnv.init_env` returns, over compiled games::

        env = AlfworldBatchEnv("json_2.1.1/train", batch_size=8)
        observations, infos = env.reset()
        commands = [choose(a) for a in infos["admissible_commands"]]
        observations, scores, dones, infos = env.step(commands)

    The games come in the stock environment's order. A finished game ignores commands until `reset`; with
    `auto_reset` its next step starts it again instead. The games can move independently:
    `reset_one` and `step_one` move one of them and leave the others.
    """

    def __init__(
        self,
        games: str | Path | Sequence[str | Path],
        batch_size: int,
        *,
        step_limit: int | None = STEP_LIMIT,
        auto_reset: bool = False,
        cache: Path | None = None,
    ) -> None:
        """Play the game files `games` (see `find_games`), `batch_size` at once.

        Raises:
            GameError: there is no game.
        """
        self.gamefiles = find_games(games)
        self.batch_size = batch_size
        self._limit, self._auto_reset, self._cache = step_limit, auto_reset, cache
        self._plays: list[Play] = []
        self.seed(STOCK_SEED)

    def seed(self, seed: int | None = None) -> None:
        """Shuffle the games by `seed`, and start again with the first of them."""
        self._order = GameOrder(self.gamefiles, seed)

    def skip(self, games: int = 1) -> None:
        """Skip the next `games`."""
        for _ in range(games):
            next(self._order)

    def reset(self) -> tuple[list[str], Infos]:
        """Start the next `batch_size` games.

        Raises:
            GameError: one is missing, malformed or unsupported.
        """
        self._plays = [self._start(next(self._order)) for _ in range(self.batch_size)]
        return [play.observation for play in self._plays], self._infos()

    def step(self, commands: Sequence[str]) -> tuple[list[str], list[float], list[bool], Infos]:
        """Send a command to each game.

        Returns:
            observations, scores (1 while the goal holds), whether each is done, and `infos`.

        Raises:
            ValueError: the number of commands is not the number of games.
        """
        plays = self._opened()
        if isinstance(commands, str) or len(commands) != len(plays):
            raise ValueError(
                f"expected a list of {len(plays)} commands, one for each game; found {commands!r}"
            )
        for index, command in enumerate(commands):
            self._advance(index, command)
        return (
            [play.observation for play in plays],
            [play.score for play in plays],
            [play.done for play in plays],
            self._infos(),
        )

    def reset_one(self, index: int, game: str | Path | None = None) -> tuple[str, dict[str, Any]]:
        """Start `game`, or the next one, at place `index`; the other games do not change.

        Raises:
            GameError: it is missing, malformed or unsupported.
        """
        plays = self._opened()
        plays[index] = self._start(Path(game) if game else next(self._order))
        return plays[index].observation, plays[index].info()

    def step_one(self, index: int, command: str) -> tuple[str, float, bool, dict[str, Any]]:
        """Send `command` only to the game at place `index`; returns the same as `step`, for one game."""
        self._advance(index, command)
        play = self._opened()[index]
        return play.observation, play.score, play.done, play.info()

    def fork(self) -> Self:
        """An independent copy: every game in its state, and the same next games."""
        copy = type(self)(
            self.gamefiles,
            self.batch_size,
            step_limit=self._limit,
            auto_reset=self._auto_reset,
            cache=self._cache,
        )
        copy._order = deepcopy(self._order)
        copy._plays = [play.fork() for play in self._plays]
        return copy

    def close(self) -> None:
        """Close the open games. Idempotent."""
        self._plays = []

    def _start(self, game: Path) -> Play:
        return Play.start(game, self._limit, self._cache)

    def _advance(self, index: int, command: str) -> None:
        plays = self._opened()
        if not plays[index].done:
            plays[index].step(command)
        elif self._auto_reset:
            plays[index] = self._start(plays[index].game_file)

    def _infos(self) -> Infos:
        infos = [play.info() for play in self._plays]
        return {key: [info[key] for info in infos] for key in infos[0]}

    def _opened(self) -> list[Play]:
        if not self._plays:
            raise RuntimeError("no game is open: call reset() first")
        return self._plays
