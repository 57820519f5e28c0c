"""What the teachers know of ScienceWorld: its rooms, its animals, and how the tasks name things."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

ROOMS = (
    "kitchen",
    "foundry",
    "workshop",
    "bathroom",
    "outside",
    "living room",
    "bedroom",
    "greenhouse",
    "art studio",
    "hallway",
)
BOXES = ("red box", "green box", "blue box", "orange box", "purple box", "yellow box")

DOORS = "You also see:"
"""Ends the list of what is in a room."""

Nature = Literal["animal", "plant", "thing"]

SHORT, MEDIUM, LONG = range(3)
LIFESPANS: Mapping[str, int] = {
    **dict.fromkeys(("ant", "chameleon", "dragonfly", "hedgehog", "mouse"), SHORT),
    **dict.fromkeys(("beaver", "chipmunk", "frog", "rabbit", "wolf"), MEDIUM),
    **dict.fromkeys(("brown bear", "crocodile", "elephant", "giant tortoise", "parrot"), LONG),
}
"""How long an animal of the lifespan tasks lives. Every such task has one animal of each of the three."""

BORN: Mapping[str, str] = {
    **dict.fromkeys(LIFESPANS, "baby"),
    **dict.fromkeys(
        ("chameleon", "frog", "crocodile", "giant tortoise", "parrot", "butterfly", "blue jay"), "egg"
    ),
    **dict.fromkeys(("dove", "turtle"), "egg"),
}
"""The state in which an animal is found outside."""

_ARTICLE = re.compile(r"(?:a|an|the) (?=\S)", re.IGNORECASE)
_NAME = re.compile(r"(?:substance called )?(.+?)(?=$|\.| \(|, which|, currently| in the \w+ stage)")
_INSIDE = re.compile(r"(?:In|On) the [^.:]+ is: (.+?)\.?$|\(containing (.+)\)")
_ANIMAL = re.compile(rf"(?:(baby|adult|juvenile) )?({'|'.join((*BORN, 'bee'))})( egg)?")
_PLANT = re.compile(r"([^(]+ (?:tree|plant)) in the (\w+) stage.*")
_WHERE = re.compile(rf"(?: in (?:the )?(?:inventory|{'|'.join(ROOMS)}))+$")
FIXED = frozenset(
    {"bathtub", "blast furnace", "drain", "freezer", "fridge", "oven", "sink", "stove", "toilet"}
    | {"ultra low temperature freezer"}
)
"""What cannot be moved."""

_LIQUIDS = ("water", "juice", "paint")
_NO_THINGS = frozenset({"agent", "air", "ground", "nothing"})


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that a room's description names.

    `state` is an animal's or a plant's stage. `pot` is the flower pot that a plant is in, empty for others.
    """

    name: str
    nature: Nature = "thing"
    state: str = ""
    pot: str = ""

    def names(self) -> list[str]:
        """What the simulator takes for it, the plainest first."""
        if self.nature == "thing":
            return [self.name]
        plain = [self.name, f"{self.state} {self.name}"]
        if self.nature == "plant":
            return plain
        if self.state == "egg":
            return [f"{self.name} egg", *plain, f"egg {self.name} egg"]
        return [plain[1], plain[0], f"{self.state} {plain[1]}"]

    @property
    def movable(self) -> bool:
        return self.name not in FIXED and not self.name.endswith(_LIQUIDS)

    @property
    def shown(self) -> str:
        """As the simulator writes it in "You focus on the …"."""
        if self.nature != "animal":
            return self.name
        return f"{self.name} egg" if self.state == "egg" else f"{self.state} {self.name}"


def things(line: str, pot: str = "") -> Iterator[Thing]:
    """What one line of a room's description names, from outside to inside."""
    text = _ARTICLE.sub("", line.strip(), count=1)
    if plant := _PLANT.fullmatch(text):
        yield Thing(plant[1], "plant", plant[2], pot)
        return
    found = _NAME.match(text)
    name = found[1] if found else text
    if animal := _ANIMAL.fullmatch(name):
        yield Thing(animal[2], "animal", "egg" if animal[3] else animal[1] or "adult")
        return
    if name not in _NO_THINGS:
        yield Thing(name)
    if inside := _INSIDE.search(text):
        for part in _parts(inside[1] or inside[2]):
            yield from things(part, name if name.startswith("flower pot") else "")


def _parts(text: str) -> Iterator[str]:
    """The names of a list; commas within parentheses, and before "which", do not separate."""
    depth, start = 0, 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0 and text.startswith(", ", place) and not text.startswith(", which", place):
            yield text[start:place]
            start = place + 2
    yield text[start:]


def called(phrase: str, among: Sequence[Thing]) -> list[Thing]:
    """The things that `phrase` may mean."""
    bare = _WHERE.sub("", phrase.strip().lower())
    if bare == "living thing":
        return [thing for thing in among if thing.nature != "thing"]
    bare = re.sub(r" containing .+", "", bare) if bare.startswith("flower pot") else bare
    return [thing for thing in among if bare in thing.names()]
