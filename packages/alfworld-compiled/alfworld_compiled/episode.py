"""One game being played, whatever the engine: the raw game, text for text."""

from __future__ import annotations

from typing import Protocol, Self

REFUSAL = "Nothing happens."
"""The engine's answer to whatever it does not understand or cannot do."""


class ForkError(RuntimeError):
    """An episode that forks by replay was answered something else the second time."""


class Episode(Protocol):
    """A game in some state. Observations are the engine's own."""

    intro: str
    """The first observation: header, room, and task."""

    def step(self, command: str) -> str:
        """Execute a command exactly as it is; returns the observation."""
        ...

    def won(self) -> bool:
        """Whether the goal holds now. The engine plays on after that, and it may cease to."""
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
