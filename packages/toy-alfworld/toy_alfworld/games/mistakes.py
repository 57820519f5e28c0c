"""Mistakes of an imperfect player, which the base model's teachers need as examples to judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Literal

from toy_alfworld.games.belief import Belief, type_of
from toy_alfworld.games.catalogue import LAMP, ROOM_KINDS, can_contain
from toy_alfworld.games.intents import Intent, deliver, go, put

Mistake = Literal[
    "unlikely place",  # searches in a place that is unlikely by common sense
    "known place",  # goes again to a place that it has already seen
    "passes by",  # goes on from a closed receptacle without opening it
    "overcommits",  # takes the object from a place where it did not see it
    "wrong object",  # takes another object
    "unprepared",  # brings the object without cleaning, heating or cooling it
    "wrong place",  # puts the object down in the wrong place
    "still closed",  # acts on a closed receptacle as if it were open
    "stays",  # goes to the place where it already is
    "nowhere",  # goes to a place that the room does not have
    "wrong tool",  # prepares with a receptacle that cannot do it, or without the object in hand
    "elsewhere",  # takes from here an object that it has seen somewhere else
    "no lamp",  # turns on a lamp that is not here
    "opens again",  # opens a receptacle that is open or cannot be opened
    "anything",  # does any action that can be formed with the known names
    "repeats",  # does the last action again
    "garbled",  # writes an action that the environment cannot read
]

_WEIGHTS: Mapping[Mistake, float] = {
    "unlikely place": 4,
    "known place": 2,
    "passes by": 2,
    "overcommits": 3,
    "wrong object": 2,
    "unprepared": 3,
    "wrong place": 2,
    "still closed": 2,
    "stays": 2,
    "nowhere": 1.5,
    "wrong tool": 1.5,
    "elsewhere": 1.5,
    "no lamp": 1.5,
    "opens again": 1,
    "anything": 1,
    "repeats": 1,
    "garbled": 0.5,
}

_RECEPTACLES = sorted({receptacle for kind in ROOM_KINDS.values() for receptacle in kind.receptacles})


def slip(belief: Belief, intended: Intent, rng: Random) -> tuple[Mistake, Intent] | None:
    """One of the mistakes that can be made here instead of `intended`; None if none can."""
    found = {name: make_mistake(name, belief, intended, rng) for name in _MAKERS}
    open_to = {name: made for name, made in found.items() if made is not None}
    if not open_to:
        return None
    name = rng.choices(list(open_to), [_WEIGHTS[name] for name in open_to])[0]
    return name, open_to[name]


def make_mistake(name: Mistake, belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    """This mistake in place of `intended`; None if it cannot be made."""
    made = _MAKERS[name](belief, intended, rng)
    return None if made is None or made.action == intended.action else made


def _unprepared(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    thing = belief.holding
    if thing is None or not belief.fits(thing) or belief.prepared(thing) or belief.goal.looks:
        return None
    return deliver(belief, thing)


def _passes_by(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    if intended.purpose != "look inside":
        return None
    places = [r for r in belief.unexplored() if r != belief.location and r not in belief.closed]
    if not places:
        return None
    place = max(places, key=lambda r: belief.promise(r, intended.thing) * rng.uniform(0.5, 1.0))
    return Intent("search", go(place), intended.thing, place)


def _overcommits(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    """Take the goal's object from the player's place, although it was not seen there."""
    here = belief.location
    if belief.holding is not None or here is None or intended.purpose == "take":
        return None
    thing = f"{belief.goal.thing.lower()} {rng.choice((1, 1, 1, 2))}"
    if thing in belief.contents.get(here, ()):
        return None
    return Intent("take", f"take {thing} from {here}", thing, here)


def _unlikely_place(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    if intended.purpose not in ("search", "look inside", "check again"):
        return None
    thing = type_of(intended.thing)
    places = sorted(
        (r for r in belief.unexplored() if r != belief.location), key=lambda r: belief.promise(r, thing)
    )
    if len(places) < 3:
        return None
    place = rng.choice(places[: len(places) // 2])
    return Intent("search", go(place), intended.thing, place)


def _known_place(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    places = [r for r in belief.receptacles if r in belief.contents and r != belief.location]
    if not places:
        return None
    place = rng.choice(places)
    return Intent("search", go(place), belief.goal.thing, place)


def _wrong_object(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    here = belief.location
    if belief.holding is not None or here is None or belief.closed.get(here, False):
        return None
    things = [t for t in belief.contents.get(here, ()) if not belief.fits(t) and type_of(t) != "DeskLamp"]
    if not things:
        return None
    thing = rng.choice(things)
    return Intent("take", f"take {thing} from {here}", thing, here)


def _wrong_place(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    here, thing = belief.location, belief.holding
    if here is None or thing is None or type_of(here) == belief.goal.target or belief.closed.get(here, False):
        return None
    if not can_contain(type_of(here), type_of(thing)):
        return None
    return Intent("put", put(thing, here), thing, here)


def _still_closed(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    here = belief.location
    if here is None or not belief.closed.get(here, False):
        return None
    if intended.purpose == "make way":
        return Intent("put", put(intended.thing, here), intended.thing, here)
    return None


def _stays(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    here = belief.location
    return None if here is None else Intent("search", go(here), intended.thing, here)


def _nowhere(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    word = rng.choice((*belief.receptacles, *_RECEPTACLES)).split()[0].lower()
    place = f"{word} {1 + sum(type_of(r).lower() == word for r in belief.receptacles)}"
    return Intent("search", go(place), intended.thing, place)


def _wrong_tool(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    verb, here = belief.goal.preparation, belief.location
    if verb is None or here is None:
        return None
    thing = belief.holding or f"{belief.goal.thing.lower()} 1"
    return Intent("prepare", f"{verb} {thing} with {here}", thing, here)


def _elsewhere(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    here = belief.location
    things = [thing for place, inside in belief.contents.items() if place != here for thing in inside]
    if here is None or not things:
        return None
    thing = rng.choice([t for t in things if belief.fits(t)] or things)
    return Intent("take", f"take {thing} from {here}", thing, here)


def _no_lamp(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    here = belief.location
    if not belief.goal.looks or here is None:
        return None
    lamp = f"{LAMP.lower()} 1"
    return Intent("light", f"toggle {lamp} {here}", lamp, here)


def _opens_again(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    here = belief.location
    if here is None or belief.closed.get(here, False):
        return None
    return Intent("look inside", f"open {here}", intended.thing, here)


def _anything(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    seen = {thing for inside in belief.contents.values() for thing in inside}
    wanted = f"{belief.goal.thing.lower()} {rng.choice((1, 1, 2))}"
    thing = rng.choice((belief.holding or wanted, wanted, *sorted(seen)))
    place = rng.choice((belief.location or belief.receptacles[0], *belief.receptacles))
    return rng.choice(
        (
            Intent("search", go(place), intended.thing, place),
            Intent("take", f"take {thing} from {place}", thing, place),
            Intent("put", put(thing, place), thing, place),
            Intent("look inside", f"open {place}", intended.thing, place),
            Intent("prepare", f"{rng.choice(sorted(belief.appliances))} {thing} with {place}", thing, place),
        )
    )


def _repeats(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    if not belief.steps:
        return None
    return Intent(intended.purpose, belief.steps[-1].action, intended.thing, intended.receptacle)


def _garbled(belief: Belief, intended: Intent, rng: Random) -> Intent | None:
    words = intended.action.split()
    numbers = [i for i, word in enumerate(words) if word.isdigit()]
    if not numbers:
        return None
    action = rng.choice(
        (
            " ".join(word for i, word in enumerate(words) if i != numbers[-1]),
            f"{'check' if words[0] == 'go' else 'use'} {intended.receptacle}",
            intended.action.replace("go to", "walk to").replace("take", "pick up").replace("put", "place"),
        )
    )
    return Intent(intended.purpose, action, intended.thing, intended.receptacle)


_MAKERS: Mapping[Mistake, Callable[[Belief, Intent, Random], Intent | None]] = {
    "unlikely place": _unlikely_place,
    "known place": _known_place,
    "passes by": _passes_by,
    "overcommits": _overcommits,
    "wrong object": _wrong_object,
    "unprepared": _unprepared,
    "wrong place": _wrong_place,
    "still closed": _still_closed,
    "stays": _stays,
    "nowhere": _nowhere,
    "wrong tool": _wrong_tool,
    "elsewhere": _elsewhere,
    "no lamp": _no_lamp,
    "opens again": _opens_again,
    "anything": _anything,
    "repeats": _repeats,
    "garbled": _garbled,
}
