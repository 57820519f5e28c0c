"""How units of work end: the words in tables and in the stages' counts."""

from __future__ import annotations

from enum import StrEnum


class Indicated(StrEnum):
    """The value of the indicator 1_delib(t) for a step (Eq. 4)."""

    DELIBERATES = "deliberates"
    AGREES = "agrees"


class Sampled(StrEnum):
    """How the sampling of a step's N candidates ended (Eq. 3)."""

    OK = "ok"
    PROMPT_TOO_LONG = "prompt_too_long"


class Ended(StrEnum):
    """How a rollout or an episode ended (Section 4.3, Section 5.1)."""

    DONE = "done"
    """The environment ended the episode."""
    STEP_LIMIT = "step_limit"
    """The task's turns were used up."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """The context was full."""
    REPLAY_MISMATCH = "replay_mismatch"
    """h_{t-1} could not be replayed, so the candidate was not executed and nothing was played."""

    @property
    def was_played(self) -> bool:
        """Whether the candidate was executed; if not, there is nothing to judge it by."""
        return self is not Ended.REPLAY_MISMATCH


class ReplyOutcome(StrEnum):
    """Why a critique (Eq. 5) or a thought (Eq. 6) was accepted or not."""

    OK = "ok"
    EMPTY = "empty"
    NO_MARKER = "no_marker"
    """A critique without its title `Action Evaluation:`."""
    NO_LIST = "no_list"
    """A thought that compares no candidates."""
    MENTIONS_NOTES = "mentions_notes"
    """It mentions the rollouts from its prompt, which the agent will not have."""
    COPIED = "copied"
    """A critique that stands in its prompt, word for word: it judges nothing."""
    OTHER_ACTION = "other_action"
    """A thought that leads to another action than the one to be taken."""
    CUT_OFF = "cut_off"
    """Cut off at `max_new_tokens`."""
    PROMPT_TOO_LONG = "prompt_too_long"


class StepOutcome(StrEnum):
    """Reasons why a step of D_delib keeps its thought, other than the reply's content (Section 4.4, 4.5)."""

    KEPT = "kept"
    """No deliberation was needed."""
    NO_CRITIQUE = "no_critique"
    """Fewer than two candidates have a usable critique, or the step's own action has none."""
    NO_ROLLOUT = "no_rollout"
    """The same, and a candidate could not be executed."""
    REJECTED = "rejected"
    """The deliberation parsed, but a filter did not accept it."""
