"""The two grammars of ALFWorld's game files, and how one is put into the other.

Files of alfworld 0.3 say `put X in/on Y`, files of 0.4 and later `move X to Y`; Figure 7 tells the agent
`put {obj} in/on {recep}` and `toggle {obj} {recep}`. Which grammar a game speaks is read off its templates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_PUT = re.compile(r"put (?P<o>\S.*) in/on (?P<r>\S.*)")
_MOVE = re.compile(r"move (?P<o>\S.*) to (?P<r>\S.*)")
_USE = re.compile(r"use (?P<o>\S.*)")
_TOGGLE = re.compile(r"toggle (?P<o>\S+(?: \d+)?)(?: \S.*)?")

_MOVED = re.compile(r"You move the (?P<o>[^.\n]+) to the (?P<r>[^.\n]+)\.")
_PLACED = re.compile(r"You put the (?P<o>[^.\n]+) in/on the (?P<r>[^.\n]+)\.")

_TEMPLATE = re.compile(r'template\s*::\s*"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a grammar writes the two actions that have two spellings, and what it answers to the first."""

    place: Literal["put", "move"]
    switch: Literal["toggle", "use"]

    def respell(self, action: str) -> str:
        """`action` in this spelling; any other action is returned as it is."""
        if place := _PUT.fullmatch(action) or _MOVE.fullmatch(action):
            form = "put {} in/on {}" if self.place == "put" else "move {} to {}"
            return form.format(place["o"], place["r"])
        if switch := _USE.fullmatch(action) or _TOGGLE.fullmatch(action):
            return f"{self.switch} {switch['o']}"
        return action

    def reword(self, observation: str) -> str:
        """`observation` as a game of this spelling would have put it."""
        if self.place == "put":
            return _MOVED.sub(r"You put the \g<o> in/on the \g<r>.", observation)
        return _PLACED.sub(r"You move the \g<o> to the \g<r>.", observation)


MOVE_USE = Spelling("move", "use")
PUT_TOGGLE = Spelling("put", "toggle")


def spelling_of(grammar: str) -> Spelling:
    """The spelling of a game, read off the action templates of its grammar."""
    templates = _TEMPLATE.findall(grammar)
    return Spelling(
        "put" if any("in/on" in t and t.startswith("put ") for t in templates) else "move",
        "toggle" if any(t.startswith("toggle ") for t in templates) else "use",
    )


def as_written(action: str) -> str:
    """An action as the agent wrote it, white space folded and trailing full stops dropped."""
    return " ".join(action.split()).rstrip(". ")
