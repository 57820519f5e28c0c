"""What `sand run` prints while stages run."""

from __future__ import annotations

from rich.console import Console

from sand_dagster.assets.progress import StageProgress
from sand_dagster.moving_line import MovingLine


class ProgressDisplay(MovingLine):
    """Shows how far the stages of one run are."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "starting")
        self.last = ""
        """The line of the stage that runs; empty between two stages."""

    def tell(self, progress: StageProgress, ended: bool) -> None:
        """A listener of `assets.progress`."""
        self.last = "" if ended else progress.line()
        if ended:
            self.leave(f"  done {progress.line()}")
        else:
            self.show(self.last)
