"""A Gymnasium environment over compiled games; needs the extra `gym`."""

from __future__ import annotations

import string
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import gymnasium
from gymnasium import spaces

from alfworld_compiled.games import find_games
from alfworld_compiled.order import GameOrder
from alfworld_compiled.play import STEP_LIMIT, Play

_LONGEST_COMMAND = 256
_LONGEST_OBSERVATION = 2**16


class AlfworldEnv(gymnasium.Env[str, str]):
    """One game at a time::

        env = AlfworldEnv("json_2.1.1/train")
        observation, info = env.reset(seed=7)
        observation, reward, terminated, truncated, info = env.step(info["admissible_commands"][0])

    An episode terminates when the goal is reached, with reward 1, and is truncated at the step limit. `info`
    has `won`, `admissible_commands` and `extra.gamefile`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium declares it so)

    def __init__(
        self,
        games: str | Path | Sequence[str | Path],
        *,
        step_limit: int | None = STEP_LIMIT,
        cache: Path | None = None,
    ) -> None:
        """Play the game files `games` (see `find_games`).

        Raises:
            GameError: there is no game.
        """
        self.games = find_games(games)
        self.action_space = spaces.Text(_LONGEST_COMMAND, charset=string.printable)
        self.observation_space = spaces.Text(_LONGEST_OBSERVATION, charset=string.printable)
        self._limit, self._cache = step_limit, cache
        self._order: GameOrder | None = None
        self._play: Play | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start the next game of an order that `seed` decides, or the file `options["game"]`.

        Raises:
            GameError: it is missing, malformed or unsupported.
        """
        super().reset(seed=seed)
        if seed is not None or self._order is None:
            self._order = GameOrder(self.games, int(self.np_random.integers(2**31)))
        named = (options or {}).get("game")
        self._play = Play.start(Path(named) if named else next(self._order), self._limit, self._cache)
        return self._play.observation, self._play.info()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute a command exactly as it is written; the answer to an impossible one is `Nothing
        happens.`"""
        play = self._opened()
        observation = play.step(action)
        return observation, play.score, play.won, play.out_of_steps, play.info()

    def fork(self) -> Self:
        """An independent copy in the same state, with the same number of steps left and the same next
        games."""
        copy = type(self)(self.games, step_limit=self._limit, cache=self._cache)
        copy._play = self._opened().fork()
        copy._order = deepcopy(self._order)
        copy._np_random, copy._np_random_seed = deepcopy(self._np_random), self._np_random_seed
        return copy

    def _opened(self) -> Play:
        if self._play is None:
            raise RuntimeError("no game is open: call reset() first")
        return self._play
