"""What the compiler says to a game that it does not take."""

from __future__ import annotations

from pathlib import Path

from alfworld_compiled.games import GameError


class UnsupportedGame(GameError):
    """A game whose text the compiled engine could not give exactly. `construct` names what it is."""

    def __init__(self, construct: str, path: Path | None = None) -> None:
        place = f"{path}: " if path else ""
        super().__init__(
            f"{place}the compiled engine does not support {construct}; "
            "leave the game out, or play it with the stock engine"
        )
        self.construct = construct
