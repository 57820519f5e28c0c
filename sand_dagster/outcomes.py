"""How pieces of work end, as the tables and the stages' counts name it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal


class Indicated(StrEnum):
    """What the indicator 1_delib(t) says of a step (Eq. 4)."""

    DELIBERATES = "deliberates"
    AGREES = "agrees"


class Sampled(StrEnum):
    """How the sampling of a step's N candidates ended (Eq. 3)."""

    OK = "ok"
    PROMPT_TOO_LONG = "prompt_too_long"


class Ended(StrEnum):
    """How a rollout or an episode ended (Section 4.3, Section 5.1)."""

    DONE = "done"
    """The environment said so."""
    STEP_LIMIT = "step_limit"
    """The task's turns were spent."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """The context was full."""
    REPLAY_MISMATCH = "replay_mismatch"
    """h_{t-1} did not replay, so that the candidate was not executed: nothing was played."""


class ReplyOutcome(StrEnum):
    """Why a critique (Eq. 5) or a thought (Eq. 6) was taken or not."""

    OK = "ok"
    EMPTY = "empty"
    NO_MARKER = "no_marker"
    """A critique without its title `Action Evaluation:`."""
    NO_LIST = "no_list"
    """A thought that compares no candidates."""
    MENTIONS_NOTES = "mentions_notes"
    """It speaks of the rollouts that it was shown, which the agent will not have."""
    OTHER_ACTION = "other_action"
    """A thought that leads to another action than the one to be taken."""
    CUT_OFF = "cut_off"
    """At `max_new_tokens`."""
    PROMPT_TOO_LONG = "prompt_too_long"


class StepOutcome(StrEnum):
    """Why a step of D_delib keeps its thought, other than by what a reply says (Section 4.4, 4.5)."""

    KEPT = "kept"
    """No deliberation was needed."""
    NO_CRITIQUE = "no_critique"
    """Fewer than two candidates have a usable critique, or that of the step's own action has none."""
    NO_ROLLOUT = "no_rollout"
    """The same, and a candidate could not be executed."""
    REJECTED = "rejected"
    """The deliberation parsed, and a filter did not take it."""


Keep = Literal["winning", "all"]
"""Which recorded trajectories become expert data: those that still win, by actions that were all accepted;
or all that can be replayed."""


class Verdict(StrEnum):
    """What came of an expert trajectory when it was replayed here."""

    OURS = "ours"
    """Not recorded elsewhere: our own environment played it."""
    KEPT = "kept"
    """It replays text for text and wins."""
    KEPT_REWORDED = "kept_reworded"
    """It wins, but a text differs: normal for data recorded on another version of the environment."""
    REFUSED_ACTION = "refused_action"
    """It wins, but the environment refused one of its actions. Every deliberation has to end in the expert's
    action, so such a trajectory is left out unless all are kept."""
    DOES_NOT_WIN = "does_not_win"
    """It was replayed and does not win."""
    DUPLICATE = "duplicate"
    """A trajectory with this id, for the same task, was kept before it."""
    ENVIRONMENT_ERROR = "environment_error"
    """The environment could not open the task, or failed while it was played."""
    UNKNOWN_TASK = "unknown_task"
    """It belongs to no training task of the experiment."""
    MALFORMED = "malformed"
    """The file's row is no trajectory."""

    def kept(self, keep: Keep) -> bool:
        """Whether a trajectory with this verdict becomes expert data."""
        wins = self in (Verdict.OURS, Verdict.KEPT, Verdict.KEPT_REWORDED)
        return wins or (keep == "all" and self in (Verdict.REFUSED_ACTION, Verdict.DOES_NOT_WIN))
