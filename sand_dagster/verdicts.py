"""The result of replaying an expert trajectory here, and which trajectories are kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

Keep = Literal["winning", "all"]
"""Which recorded trajectories become expert data: those that still win with all actions accepted, or all that
can be replayed."""


class Verdict(StrEnum):
    """The result of replaying an expert trajectory here."""

    OURS = "ours"
    """It is not from a file: our own environment played it."""
    KEPT = "kept"
    """Its replay has the same texts and wins."""
    KEPT_REWORDED = "kept_reworded"
    """It wins, but a text differs: normal for data recorded on another version of the environment."""
    REFUSED_ACTION = "refused_action"
    """It wins, but the environment refused one of its actions. Every deliberation has to end in the expert's
    action, so such a trajectory is left out unless all are kept."""
    DOES_NOT_WIN = "does_not_win"
    """It was replayed, but does not win."""
    DUPLICATE = "duplicate"
    """A trajectory with this id, for the same task, was kept before it."""
    ENVIRONMENT_ERROR = "environment_error"
    """The environment could not open the task, or failed during the replay."""
    UNKNOWN_TASK = "unknown_task"
    """It belongs to no training task of the experiment."""
    MALFORMED = "malformed"
    """The file's row is not a trajectory."""

    def kept(self, keep: Keep) -> bool:
        """Whether a trajectory with this verdict becomes expert data."""
        wins = self in (Verdict.OURS, Verdict.KEPT, Verdict.KEPT_REWORDED)
        return wins or (keep == "all" and self in (Verdict.REFUSED_ACTION, Verdict.DOES_NOT_WIN))
