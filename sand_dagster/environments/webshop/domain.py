"""What WebShop says of itself without being run: the agent's prompt, and when two actions are the same."""

from __future__ import annotations

import re

from sand_dagster.prompts.figures import agent_prompt, fill

REFUSAL = "That is no action of the shop: write search[words] or click[what]."
"""The answer to a turn that holds no action. The shop itself answers an invalid action by the same page."""

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
        """Lower case, as the shop takes what stands in the brackets; of a search, single spaces."""
        written = as_written(action)
        said = _ACTION.match(written)
        if said is None:
            return written
        name, argument = said.groups()
        return f"{name}[{' '.join(argument.lower().split()) if name == 'search' else argument.lower()}]"

    def prompt(self, instruction: str) -> str:
        """Our wording: the paper shows no prompt for WebShop. The first page stands for `{task}`."""
        return fill(agent_prompt(__package__), {"task": instruction})
