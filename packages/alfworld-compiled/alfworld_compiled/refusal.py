"""The compiler's error for a game that it does not support."""

from __future__ import annotations

from pathlib import Path

from alfworld_compiled.games import GameError


class UnsupportedGame(GameError):
    """The compiled engine might not give a game's exact text. `construct` names the reason."""

    def __init__(self, construct: str, path: Path | None = None) -> None:
        place = f"{path}: " if path else ""
        super().__init__(
            f"{place}the compiled engine does not support {construct}; "
            "leave the game out, or play it with the stock engine"
        )
        self.construct = construct
