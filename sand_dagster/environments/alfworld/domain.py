"""What is known of ALFWorld without running it: Figure 7's prompt, and when two actions are the same."""

from __future__ import annotations

from alfworld_compiled.episode import REFUSAL
from alfworld_compiled.spelling import MOVE_USE, as_written
from sand_dagster.prompts.figures import agent_prompt, fill


class AlfworldDomain:
    """See `Domain`."""

    name = "alfworld"
    refusal = REFUSAL
    opening = "You are in the middle of a room"

    def normalise(self, action: str) -> str:
        """Lower case, white space folded, no full stop, `move X to Y` for `put`, `use X` for `toggle`."""
        return MOVE_USE.respell(as_written(action).lower())

    def prompt(self, instruction: str) -> str:
        """Figure 7 with the game's first observation for `{task}`."""
        return fill(agent_prompt(__package__), {"task": instruction})
