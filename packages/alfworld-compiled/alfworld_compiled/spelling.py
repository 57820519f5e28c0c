"""The two grammars of ALFWorld's game files, and the translation between them.

Files of alfworld 0.3 use `put X in/on Y`, files of 0.4 and later `move X to Y`; Figure 7 gives the agent
`put {obj} in/on {recep}` and `toggle {obj} {recep}`. A game's templates show which grammar it uses.
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
    """A grammar's form of the two actions that have two spellings, and its answer to the first."""

    place: Literal["put", "move"]
    switch: Literal["toggle", "use"]

    def respell(self, action: str) -> str:
        """`action` in this spelling; any other action is returned unchanged."""
        if place := _PUT.fullmatch(action) or _MOVE.fullmatch(action):
            form = "put {} in/on {}" if self.place == "put" else "move {} to {}"
            return form.format(place["o"], place["r"])
        if switch := _USE.fullmatch(action) or _TOGGLE.fullmatch(action):
            return f"{self.switch} {switch['o']}"
        return action

    def reword(self, observation: str) -> str:
        """`observation` as a game of this spelling would write it."""
        if self.place == "put":
            return _MOVED.sub(r"You put the \g<o> in/on the \g<r>.", observation)
        return _PLACED.sub(r"You move the \g<o> to the \g<r>.", observation)


MOVE_USE = Spelling("move", "use")
PUT_TOGGLE = Spelling("put", "toggle")


def spelling_of(grammar: str) -> Spelling:
    """The spelling of a game, from the action templates of its grammar."""
    templates = _TEMPLATE.findall(grammar)
    return Spelling(
        "put" if any("in/on" in t and t.startswith("put ") for t in templates) else "move",
        "toggle" if any(t.startswith("toggle ") for t in templates) else "use",
    )


def as_written(action: str) -> str:
    """An action as the agent wrote it, with single spaces and no trailing full stops."""
    return " ".join(action.split()).rstrip(". ")
