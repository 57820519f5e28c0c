"""What is known of WebShop without running it: the agent's prompt, and when two actions are the same."""

from __future__ import annotations

import re

from sand_dagster.prompts.figures import agent_prompt, fill

REFUSAL = "That is no action of the shop: write search[words] or click[what]."
"""The answer to a turn without an action. The shop itself answers an invalid action with the same page."""

_ACTION = re.compile(r"(search|click)\[(.+)\]")


def as_written(action: str) -> str:
    """What is sent to the shop: the action without white space around it."""
    return action.strip()


class WebShopDomain:
    """See `Domain`."""

    name = "webshop"
    refusal = REFUSAL
    opening = "WebShop [SEP] Instruction:"

    def normalise(self, action: str) -> str:
        """Lower case, as the shop reads the text in the brackets; for a search, single spaces."""
        written = as_written(action)
        match = _ACTION.match(written)
        if match is None:
            return written
        name, argument = match.groups()
        return f"{name}[{' '.join(argument.lower().split()) if name == 'search' else argument.lower()}]"

    def prompt(self, instruction: str) -> str:
        """Our wording: the paper shows no prompt for WebShop. `{task}` is replaced by the first page."""
        return fill(agent_prompt(__package__), {"task": instruction})
