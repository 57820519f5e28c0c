"""How far long work is, for a person: a moving line on a terminal, a printed one now and then in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console

_LOG_EVERY_S = 10.0


class MovingLine:
    """One line on `console` that changes while the work runs, and is gone at its end.

    Elsewhere than on a terminal it is printed at most every 10 s.
    """

    def __init__(self, console: Console, at_first: str) -> None:
        self._console = console
        self._status = console.status(at_first) if console.is_terminal else None
        self._printed = time.monotonic()

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def show(self, line: str) -> None:
        """How far the work is now."""
        if self._status:
            self._status.update(line)
        elif time.monotonic() - self._printed >= _LOG_EVERY_S:
            self.leave(f"       {line}")

    def leave(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(line, highlight=False, markup=False)
        self._printed = time.monotonic()
