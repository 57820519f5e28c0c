"""What ScienceWorld says of itself without being run: Figure 8's prompt, when two actions are the same."""

from __future__ import annotations

from sand_dagster.prompts.figures import agent_prompt, fill

REFUSAL = "No known action matches that input."
"""The simulator's answer to what it cannot parse. It costs no move."""
REFUSALS = frozenset({REFUSAL, "Unknown action."})
"""The answers after which nothing has changed but, with the second, the simulator's clock."""


def as_written(action: str) -> str:
    """What is sent to the simulator: white space folded, a trailing full stop taken off."""
    return " ".join(action.split()).removesuffix(".").rstrip()


class ScienceWorldDomain:
    """See `Domain`."""

    name = "scienceworld"
    refusal = REFUSAL
    opening = "Task Description:"

    def normalise(self, action: str) -> str:
        """Lower case, white space folded, no trailing full stop."""
        return as_written(action).lower()

    def prompt(self, instruction: str) -> str:
        """Figure 8 with the task description for `{task}`."""
        return fill(agent_prompt(__package__), {"task": instruction})
