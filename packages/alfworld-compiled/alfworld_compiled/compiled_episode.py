"""A compiled game being played."""

from __future__ import annotations

from typing import Self

from alfworld_compiled.engine import CompiledGame, State


class CompiledEpisode:
    """See `Episode`. Everything is shared but the state, so a fork costs a microsecond."""

    __slots__ = ("_game", "_state", "intro")

    def __init__(self, game: CompiledGame, state: State | None = None) -> None:
        self._game = game
        self._state = game.initial if state is None else state
        self.intro = game.intro

    def step(self, command: str) -> str:
        self._state, observation = self._game.step(self._state, command)
        return observation

    def won(self) -> bool:
        return self._game.won(self._state)

    def admissible(self) -> list[str]:
        return self._game.admissible(self._state)

    def fork(self) -> Self:
        return type(self)(self._game, self._state)

    def close(self) -> None:
        pass
