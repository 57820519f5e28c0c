"""Layouts of rooms, and which of them are held out.

A layout is a kind of room and its numbered receptacles. The hash of a layout decides whether it is held out:
a fifth of all possible layouts belong to `unseen`, the others to `train` and `seen`. So a room of one side
never equals one of the other, for any seed and any number of rooms. The experiment and the base model's
teachers share this partition.

A room also says which of its openable receptacles are open at first; this does not change the layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from sand_dagster.ids import digest
from toy_alfworld.games.catalogue import OPENABLE, ROOM_KINDS, RoomKind

Split = Literal["train", "seen", "unseen"]

FEWEST_RECEPTACLES, MOST_RECEPTACLES = 7, 14
ROOMS_OF_A_KIND: Mapping[bool, int] = {False: 60, True: 20}
"""How many rooms of each kind there are: for training (False) and held out (True)."""

_HELD_OUT_ONE_IN = 5
_FIRST_HELD_OUT = 500
_STANDS_OPEN = 0.12


@dataclass(frozen=True, slots=True)
class Room:
    """A room: the names (`cabinet 1`) of its receptacles, their types, and those that are open at first.

    `scene` is the number in a task's name: below 500 in its kind's thousand for training, from 500 held out.
    """

    scene: int
    kind: str
    receptacles: tuple[str, ...]
    types: Mapping[str, str]
    opened: frozenset[str]

    @property
    def layout(self) -> tuple[str, ...]:
        """The key of the room's layout."""
        return (self.kind, *sorted(self.receptacles))

    @property
    def held_out(self) -> bool:
        """Whether the layout belongs to the `unseen` side."""
        return int(digest("layout", *self.layout), 16) % _HELD_OUT_ONE_IN == 0


@cache
def rooms(kind: str, held_out: bool) -> tuple[Room, ...]:
    """All rooms of a kind on one side of the partition, each layout once, in a fixed order."""
    rng = Random(f"household rooms {kind}")
    scene = ROOM_KINDS[kind].first_scene + (_FIRST_HELD_OUT if held_out else 1)
    found: dict[tuple[str, ...], Room] = {}
    while len(found) < ROOMS_OF_A_KIND[held_out]:
        room = _draw(rng, ROOM_KINDS[kind], scene + len(found))
        if room.held_out == held_out and FEWEST_RECEPTACLES <= len(room.receptacles) <= MOST_RECEPTACLES:
            found.setdefault(room.layout, room)
    return tuple(found.values())


def _draw(rng: Random, kind: RoomKind, scene: int) -> Room:
    types = {}
    for name, (least, most) in kind.receptacles.items():
        for number in range(1, rng.randint(least, most) + 1):
            types[f"{name.lower()} {number}"] = name
    opened = frozenset(r for r, t in types.items() if t in OPENABLE and rng.random() < _STANDS_OPEN)
    return Room(scene, kind.name, tuple(types), types, opened)
