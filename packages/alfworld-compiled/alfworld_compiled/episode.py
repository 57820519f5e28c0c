"""One game being played, by either engine: the raw game, text for text."""

from __future__ import annotations

from typing import Protocol, Self

REFUSAL = "Nothing happens."
"""The engine's answer to a command that it does not understand or cannot execute."""


class ForkError(RuntimeError):
    """In a fork by replay, the engine gave another answer the second time."""


class Episode(Protocol):
    """A game in some state. Observations are the engine's own."""

    intro: str
    """The first observation: header, room, and task."""

    def step(self, command: str) -> str:
        """Execute a command exactly as it is; returns the observation."""
        ...

    def won(self) -> bool:
        """Whether the goal holds now. The game continues after that, and the goal may become false again."""
        ...

    def admissible(self) -> list[str]:
        """The commands that would do something now, sorted."""
        ...

    def fork(self) -> Self:
        """An independent copy in the same state."""
        ...

    def close(self) -> None:
        """Free everything. Idempotent."""
        ...
