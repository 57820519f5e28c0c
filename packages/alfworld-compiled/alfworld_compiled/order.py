"""The order in which an environment plays its games."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from numpy.random import RandomState


class GameOrder(Iterator[Path]):
    """The games, shuffled by `seed`, and shuffled again each time all were played, as in textworld."""

    def __init__(self, games: Sequence[Path], seed: int | None) -> None:
        self._random = RandomState(seed)
        self._games = list(games)
        self._random.shuffle(self._games)  # type: ignore[arg-type]
        self._next = 0

    def __next__(self) -> Path:
        if self._next == len(self._games):
            self._random.shuffle(self._games)  # type: ignore[arg-type]
            self._next = 0
        self._next += 1
        return self._games[self._next - 1]
