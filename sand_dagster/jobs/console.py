"""What `sand run` prints while stages run: a moving line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from sand_dagster.assets.progress import StageProgress

_EVERY_S = 10.0


class ProgressDisplay:
    """Shows how far the stages of one run are."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("starting", console=console) if console.is_terminal else None
        self._printed = time.monotonic()
        self.last = ""
        """The line of the stage that runs; empty between two stages."""

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status:
            self._status.stop()

    def show(self, progress: StageProgress, ended: bool) -> None:
        """Print that a stage has ended, or how far one is. A listener of `assets.progress`."""
        self.last = "" if ended else progress.line()
        if ended:
            self._console.print(f"  done {progress.line()}", highlight=False, markup=False)
            self._printed = time.monotonic()
        elif self._status:
            self._status.update(progress.line())
        elif time.monotonic() - self._printed >= _EVERY_S:
            self._console.print(f"       {progress.line()}", highlight=False, markup=False)
            self._printed = time.monotonic()
