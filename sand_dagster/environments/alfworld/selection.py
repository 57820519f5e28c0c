"""Which games of a split are used: solvable ones that the engine plays, up to a limit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from alfworld_compiled import compile_ahead
from alfworld_compiled.games import locate, read_game
from sand_dagster.environments import Progress
from sand_dagster.ids import digest

_LOG = logging.getLogger(__name__)
_NAMED = 5
_AT_ONCE = 100
"""Games that are read before they are compiled: reading thousands shows no progress for minutes."""


class Selection:
    """Chooses games of the folder `games`; `total` is how many it will check, for `progress`.

    If `compile_into` is a folder, the games are compiled into it, and those that the compiler refuses are
    left out. `refused` has them, with the construct.
    """

    def __init__(self, games: Path, total: int, progress: Progress) -> None:
        self.compile_into: Path | None = None
        self.refused: dict[str, str] = {}
        self.unsolvable = 0
        self._games, self._progress, self._done, self._total = games, progress, 0, total

    def choose(self, names: Sequence[str], limit: int | None) -> list[str]:
        """At most `limit` of `names`, sorted. The hashes of their paths decide which.

        Raises:
            GameError: a game cannot be read.
        """
        order = list(names) if limit is None else sorted(names, key=digest)
        chosen: list[str] = []
        while order and (limit is None or len(chosen) < limit):
            wanted = len(order) if limit is None else limit - len(chosen)
            count = min(wanted, _AT_ONCE)
            chosen += self._playable(order[:count])
            order = order[count:]
        return sorted(chosen)

    def log(self) -> None:
        """Log what was left out."""
        if self.unsolvable:
            _LOG.warning("left out %d games that are marked as unsolvable", self.unsolvable)
        if self.refused:
            some = "; ".join(f"{game}: {what}" for game, what in list(self.refused.items())[:_NAMED])
            _LOG.warning(
                "left out %d games that the compiled engine does not support (%s); "
                "with `unsupported: stock` the stock engine plays them",
                len(self.refused),
                some,
            )

    def _playable(self, names: Sequence[str]) -> list[str]:
        paths = {name: locate(self._games, name) for name in names}
        solvable = [name for name, path in paths.items() if read_game(path).solvable]
        self.unsolvable += len(paths) - len(solvable)
        if self.compile_into is None:
            self._advance(len(names))
            return solvable
        refused = compile_ahead([paths[n] for n in solvable], self.compile_into, self._advance)
        self.refused.update({name: refused[paths[name]] for name in solvable if paths[name] in refused})
        return [name for name in solvable if paths[name] not in refused]

    def _advance(self, games: int = 1) -> None:
        self._done += games
        self._progress(min(self._done, self._total), self._total)
