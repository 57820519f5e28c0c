"""What is known of ScienceWorld without running it: Figure 8's prompt, and when two actions are the same."""

from __future__ import annotations

from sand_dagster.prompts.figures import agent_prompt, fill

REFUSAL = "No known action matches that input."
"""The simulator's answer to text that it cannot parse. It costs no move."""
REFUSALS = frozenset({REFUSAL, "Unknown action."})
"""The answers after which nothing has changed, except that the second advances the simulator's clock."""


def as_written(action: str) -> str:
    """What is sent to the simulator: single spaces, and no trailing full stop."""
    return " ".join(action.split()).removesuffix(".").rstrip()


class ScienceWorldDomain:
    """See `Domain`."""

    name = "scienceworld"
    refusal = REFUSAL
    opening = "Task Description:"

    def normalise(self, action: str) -> str:
        """Lower case, single spaces, no trailing full stop."""
        return as_written(action).lower()

    def prompt(self, instruction: str) -> str:
        """Figure 8 with the task description for `{task}`."""
        return fill(agent_prompt(__package__), {"task": instruction})
