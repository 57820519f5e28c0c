"""Making games: rooms, goals and placements are drawn by seed, and kept only if the expert wins in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from alfworld.gen.goal_library import gdict

from sand_dagster.ids import digest
from toy_alfworld.games.catalogue import (
    APPLIANCES,
    LAMP,
    PROPERTIES,
    ROOM_KINDS,
    RoomKind,
    Rules,
    can_contain,
)
from toy_alfworld.games.game import PREPARATIONS, TASK_KINDS, Game, Goal, TaskKind
from toy_alfworld.games.playing import wins
from toy_alfworld.games.rooms import Room, Split, rooms

VERSION = 1
"""The generator's version: it, the seed, the split and the kind determine a game. Raise it with any
change."""

STEP_LIMIT = 20

_MOST_TRIES = 1000
_FEWEST_OBJECTS, _MOST_OBJECTS = 8, 16
_BY_ACCIDENT = 0.15
"""How often an object is in an unusual place: often enough that looking around stays useful."""
_NO_TARGETS = frozenset(
    {"SinkBasin", "BathtubBasin", "TowelHolder", "HandTowelHolder", "Toaster", "TVStand", "LaundryHamper"}
)
"""Receptacle types that no ALFRED task puts something in."""
_ROOM_WEIGHTS: Mapping[TaskKind, Mapping[str, int]] = {
    "pick_and_place_simple": {"kitchen": 1, "living room": 1, "bedroom": 1, "bathroom": 1},
    "pick_two_obj_and_place": {"kitchen": 1, "living room": 1, "bedroom": 1, "bathroom": 1},
    "look_at_obj_in_light": {"living room": 1, "bedroom": 2},
    "pick_clean_then_place_in_recep": {"kitchen": 3, "bathroom": 1},
    "pick_heat_then_place_in_recep": {"kitchen": 1},
    "pick_cool_then_place_in_recep": {"kitchen": 1},
}


def make_game(
    seed: int | str,
    split: Split,
    kind: TaskKind | None = None,
    pool: Sequence[Room] | None = None,
    step_limit: int = STEP_LIMIT,
    rules: Rules = "usual",
) -> Game:
    """One game, the same for the same arguments, that the expert wins within `step_limit` steps.

    Args:
        seed: any value; different ones give different games.
        split: `train` and `seen` draw from the same rooms, `unseen` from the held-out ones.
        kind: the type of task; drawn if it is not given.
        pool: the rooms to draw from; default: all of the split's. Rooms that do not suit the kind are
            skipped.
        step_limit: the turns that the expert may take.
        rules: which appliance does what.

    Raises:
        ValueError: `pool` has no room for that kind of task, or rooms of the wrong side of the partition; or
            the expert won no game in time.
    """
    if rules != "usual":  # so that the usual games stay what they are
        seed = f"{rules} {seed}"
    rng = Random(f"household game {VERSION} {seed} {split} {kind}")
    trial = f"trial_{digest('household', VERSION, seed, split, kind, [r.layout for r in pool or ()])[:12]}"
    if pool is not None and any(room.held_out != (split == "unseen") for room in pool):
        raise ValueError(f"the pool for split {split!r} holds rooms of the other side of the partition")
    for _ in range(_MOST_TRIES):
        drawn: TaskKind = rng.choice(TASK_KINDS) if kind is None else kind
        room = _draw_room(rng, drawn, split, pool)
        goal = _draw_goal(rng, drawn, room, rules)
        if goal is None:
            continue
        game = _furnish(rng, split, trial, room, goal, rules)
        if game is not None and wins(game, step_limit):
            return game
    raise ValueError(
        f"the expert won no {kind or 'game'} for split {split!r} out of {_MOST_TRIES} tries within "
        f"{step_limit} steps: raise the step limit, or give other rooms"
    )


def possible_kinds(pool: Sequence[Room], rules: Rules = "usual") -> list[TaskKind]:
    """The types of task for which `pool` has a kind of room, with the appliance that the task needs."""
    return [
        kind
        for kind in TASK_KINDS
        if any(room.kind in _ROOM_WEIGHTS[kind] and _equipped(room, kind, rules) for room in pool)
    ]


def _equipped(room: Room, kind: TaskKind, rules: Rules) -> bool:
    preparation = PREPARATIONS.get(kind)
    return preparation is None or APPLIANCES[rules][preparation] in room.types.values()


def _draw_room(rng: Random, kind: TaskKind, split: Split, pool: Sequence[Room] | None) -> Room:
    weights = _ROOM_WEIGHTS[kind]
    if pool is None:
        name = rng.choices(list(weights), list(weights.values()))[0]
        return rng.choice(rooms(name, split == "unseen"))
    fitting = [room for room in pool if room.kind in weights]
    if not fitting:
        raise ValueError(
            f"no room of the pool suits a task of kind {kind}: it needs one of {', '.join(weights)}"
        )
    return rng.choice(fitting)


def _draw_goal(rng: Random, kind: TaskKind, room: Room, rules: Rules) -> Goal | None:
    """A goal that the room's receptacles allow, or None if the room or the drawn object has none."""
    if not _equipped(room, kind, rules):
        return None
    habits = _habits_here(room)
    preparation = PREPARATIONS.get(kind)
    allowed = PROPERTIES[f"{preparation}able"] if preparation else habits.keys() - {LAMP}
    things = [thing for thing in habits if thing in allowed and thing != LAMP]
    if not things:
        return None
    thing = rng.choices(things, [ROOM_KINDS[room.kind].habits[t].frequency for t in things])[0]
    if kind == "look_at_obj_in_light":
        return Goal(kind, thing, LAMP) if LAMP in habits else None
    targets = [
        t for t in dict.fromkeys(room.types.values()) if t not in _NO_TARGETS and can_contain(t, thing)
    ]
    if preparation:
        targets = [t for t in targets if t != APPLIANCES[rules][preparation]]
    if kind == "pick_two_obj_and_place":
        targets = [t for t in targets if t != "ToiletPaperHanger"]
    return Goal(kind, thing, rng.choice(targets)) if targets else None


def _habits_here(room: Room) -> dict[str, dict[str, float]]:
    """For each object type, the weights of the receptacle types of this room that it may be in."""
    kind: RoomKind = ROOM_KINDS[room.kind]
    present = set(room.types.values())
    habits = {
        thing: {place: weight for place, weight in habit.places.items() if place in present}
        for thing, habit in kind.habits.items()
    }
    return {thing: places for thing, places in habits.items() if places}


def _furnish(rng: Random, split: Split, trial: str, room: Room, goal: Goal, rules: Rules) -> Game | None:
    """Place the goal's objects and others; None if the goal would hold from the start."""
    habits = _habits_here(room)
    wanted = goal.count + rng.choices((0, 1), (3, 1))[0]
    kinds = [goal.thing] * wanted
    if goal.looks or (LAMP in habits and rng.random() < 0.3):
        kinds.append(LAMP)
    others = [thing for thing in habits if thing not in (goal.thing, LAMP)]
    frequencies = [ROOM_KINDS[room.kind].habits[t].frequency for t in others]
    total = rng.randint(max(_FEWEST_OBJECTS, len(kinds)), _MOST_OBJECTS)
    while others and len(kinds) < total:
        kinds.append(rng.choices(others, frequencies)[0])

    places: dict[str, str] = {}
    types: dict[str, str] = {}
    for thing in sorted(set(kinds)):
        for number in range(1, kinds.count(thing) + 1):
            name = f"{thing.lower()} {number}"
            places[name], types[name] = _draw_place(rng, room, thing, habits[thing]), thing
    game = Game(split, trial, room, goal, _sentence(rng, goal), places, types, rules)
    return None if _begun(game) else game


def _draw_place(rng: Random, room: Room, thing: str, weights: Mapping[str, float]) -> str:
    """A usual receptacle, or sometimes any other that may hold the object."""
    kind = rng.choices(list(weights), list(weights.values()))[0]
    if rng.random() < _BY_ACCIDENT:
        kind = rng.choice([t for t in dict.fromkeys(room.types.values()) if can_contain(t, thing)] or [kind])
    return rng.choice([receptacle for receptacle, type_ in room.types.items() if type_ == kind])


def _begun(game: Game) -> bool:
    """Whether the goal's objects are already in receptacles of its type at the start, so that little is left
    to do."""
    goal = game.goal
    if goal.preparation or goal.looks:
        return False
    there = [
        p for o, p in game.places.items() if game.types[o] == goal.thing and game.room.types[p] == goal.target
    ]
    return len(there) >= goal.count


def _sentence(rng: Random, goal: Goal) -> str:
    template: str = rng.choice(gdict[goal.kind]["templates"])
    target = goal.target.lower()
    return template.format(obj=goal.thing.lower(), recep=target, toggle=target)
