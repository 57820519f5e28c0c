"""A household game as a value: the room, the objects' places, the goal, and a plan with full knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from alfworld_compiled.games import GAME_FILE, SPLITS
from toy_alfworld.games.catalogue import APPLIANCES, LAMP, OPENABLE, Rules
from toy_alfworld.games.pddl import game_file
from toy_alfworld.games.rooms import Room, Split

TaskKind = Literal[
    "pick_and_place_simple",
    "pick_two_obj_and_place",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
]
TASK_KINDS: tuple[TaskKind, ...] = (
    "pick_and_place_simple",
    "pick_two_obj_and_place",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
)

PREPARATIONS: Mapping[TaskKind, str] = {
    "pick_clean_then_place_in_recep": "clean",
    "pick_heat_then_place_in_recep": "heat",
    "pick_cool_then_place_in_recep": "cool",
}
"""The verb that prepares the object, for the kinds of task that need it."""

_FOLDERS = {split: folder for folder, split in SPLITS.items()}


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal. `thing` and `target` are types (`Apple`, `Fridge`); for a look the target is the lamp."""

    kind: TaskKind
    thing: str
    target: str

    @property
    def preparation(self) -> str | None:
        """`clean`, `heat`, `cool`, or None."""
        return PREPARATIONS.get(self.kind)

    @property
    def count(self) -> int:
        """How many objects have to be brought."""
        return 2 if self.kind == "pick_two_obj_and_place" else 1

    @property
    def looks(self) -> bool:
        """Whether the object has to be held under the lamp instead of being put somewhere."""
        return self.kind == "look_at_obj_in_light"


@dataclass(frozen=True)
class Game:
    """A game. `places` gives the first receptacle of every object (`apple 1`).

    `types` has the types of the objects; `sentence` is the task as the player reads it, without the full
    stop; `rules` say which appliance does what.
    """

    split: Split
    trial: str
    room: Room
    goal: Goal
    sentence: str
    places: Mapping[str, str]
    types: Mapping[str, str]
    rules: Rules = "usual"

    @property
    def name(self) -> str:
        """ALFWorld's folder name, `type-Object-MovableReceptacle-Receptacle-scene`."""
        return f"{self.goal.kind}-{self.goal.thing}-None-{self.goal.target}-{self.room.scene}"

    @property
    def path(self) -> str:
        """The game file's path below the games folder."""
        return f"{_FOLDERS[self.split]}/{self.name}/{self.trial}/{GAME_FILE}"

    @property
    def appliances(self) -> Mapping[str, str]:
        """The receptacle type that each way of preparing an object needs in this game."""
        return APPLIANCES[self.rules]

    @cached_property
    def walkthrough(self) -> tuple[str, ...]:
        """The shortest direct plan, in the game's own commands, with full knowledge."""
        return min(
            (_plan(self, things, end) for things, end in _choices(self)), key=lambda plan: (len(plan), plan)
        )

    def file(self) -> dict[str, object]:
        """The content of `game.tw-pddl`, in ALFWorld's format."""
        return game_file(self)


def _choices(game: Game) -> list[tuple[tuple[str, ...], str]]:
    """Which objects to bring, in order, and where to."""
    goal, room = game.goal, game.room
    if goal.looks:
        ends = [place for thing, place in game.places.items() if game.types[thing] == LAMP]
    else:
        ends = [r for r in room.receptacles if room.types[r] == goal.target]
    things = [thing for thing in game.places if game.types[thing] == goal.thing]
    found: list[tuple[tuple[str, ...], str]] = []
    for end in ends:
        if goal.preparation or goal.looks:
            found += [((thing,), end) for thing in things]
            continue
        away = [thing for thing in things if game.places[thing] != end]
        missing = max(goal.count - (len(things) - len(away)), 1)
        found += [((a,), end) for a in away] if missing == 1 else [(p, end) for p in _pairs(away)]
    return found


def _pairs(things: list[str]) -> list[tuple[str, ...]]:
    return [(a, b) for i, a in enumerate(things) for b in things[i + 1 :]]


def _plan(game: Game, things: tuple[str, ...], end: str) -> tuple[str, ...]:
    """Bring `things` to `end`, and prepare them on the way if the goal needs it."""
    goal, room = game.goal, game.room
    opened, plan, here = set(room.opened), list[str](), ""

    def visit(receptacle: str, inside: bool) -> None:
        nonlocal here
        if here != receptacle:
            plan.append(f"go to {receptacle}")
            here = receptacle
        if inside and room.types[receptacle] in OPENABLE and receptacle not in opened:
            opened.add(receptacle)
            plan.append(f"open {receptacle}")

    for thing in things:
        visit(game.places[thing], inside=True)
        plan.append(f"take {thing} from {here}")
        if goal.preparation:
            visit(
                next(r for r in room.receptacles if room.types[r] == game.appliances[goal.preparation]),
                inside=False,
            )
            plan.append(f"{goal.preparation} {thing} with {here}")
        visit(end, inside=not goal.looks)
        if goal.looks:
            lamp = next(t for t, place in game.places.items() if game.types[t] == LAMP and place == end)
            plan.append(f"use {lamp}")
        else:
            plan.append(f"move {thing} to {here}")
    return tuple(plan)
