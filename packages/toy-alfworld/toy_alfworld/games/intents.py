"""What a sensible player does next, given its knowledge: the expert's decision, without the wording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from toy_alfworld.games.belief import Belief, type_of
from toy_alfworld.games.catalogue import LAMP, OPENABLE, can_contain

Purpose = Literal[
    "search",  # go and look where the object (or the lamp) may be
    "look inside",  # open what is closed, to look
    "fetch",  # go back to the place where the object was seen
    "take",
    "go prepare",  # go to the sink, microwave or fridge
    "prepare",
    "bring",  # go to where the object belongs
    "make way",  # open where the object belongs
    "put",
    "go to lamp",
    "light",
    "lay down",  # put down a wrong object
    "check again",  # everything was seen and nothing found, or everything seems to be done
]


@dataclass(frozen=True, slots=True)
class Intent:
    """An action and its purpose. `thing` is its object, or the type that the player looks for."""

    purpose: Purpose
    action: str
    thing: str
    receptacle: str


def go(receptacle: str) -> str:
    """The action of going to a receptacle."""
    return f"go to {receptacle}"


def visit(belief: Belief, receptacle: str) -> str:
    """Going to a receptacle; or looking at it, if going was just refused because it is within reach."""
    return f"examine {receptacle}" if go(receptacle) in belief.refused else go(receptacle)


def put(thing: str, receptacle: str) -> str:
    """The action of putting an object, as the agent's prompt spells it (Figure 7)."""
    return f"put {thing} in/on {receptacle}"


def best(belief: Belief, taste: Mapping[str, float] | None = None) -> Intent:
    """The next step of a player with the knowledge `belief`.

    Args:
        belief: what is known.
        taste: a factor for each receptacle's likelihood, which varies the order of searching.
    """
    if belief.holding is None:
        return _without(belief, taste or {})
    if not belief.fits(belief.holding):
        return _lay_down(belief, belief.holding)
    return _with(belief, belief.holding, taste or {})


def search(belief: Belief, thing: str, taste: Mapping[str, float]) -> Intent:
    """Look for an object of type `thing` in the most likely receptacle that was not looked into yet."""
    here = belief.location
    if here is not None and here not in belief.contents and belief.closed.get(here, False):
        return Intent("look inside", f"open {here}", thing, here)
    places = belief.unexplored()
    if not places:
        seen = [r for r in belief.receptacles if r != here] or list(belief.receptacles)
        place = max(seen, key=lambda r: belief.promise(r, thing) * taste.get(r, 1.0))
        return Intent("check again", visit(belief, place), thing, place)
    place = max(places, key=lambda r: belief.promise(r, thing) * taste.get(r, 1.0))
    return Intent("search", visit(belief, place), thing, place)


def deliver(belief: Belief, thing: str) -> Intent:
    """Bring the object in the hand to the goal's place."""
    end = belief.end()
    if end is None:
        return Intent("check again", "look", thing, belief.location or "")
    if belief.location != end:
        return Intent("bring", visit(belief, end), thing, end)
    if belief.closed.get(end, False):
        return Intent("make way", f"open {end}", thing, end)
    return Intent("put", put(thing, end), thing, end)


def _without(belief: Belief, taste: Mapping[str, float]) -> Intent:
    goal = belief.goal
    if belief.achieved():
        return Intent("check again", "look", goal.thing, belief.location or "")
    wanted = belief.wanted()
    if wanted is None:
        return search(belief, goal.thing, taste)
    thing, place = wanted
    if belief.location != place:
        return Intent("fetch", visit(belief, place), thing, place)
    if belief.closed.get(place, False):
        return Intent("look inside", f"open {place}", thing, place)
    return Intent("take", f"take {thing} from {place}", thing, place)


def _with(belief: Belief, thing: str, taste: Mapping[str, float]) -> Intent:
    goal = belief.goal
    if goal.looks:
        lamp = belief.lamp()
        if lamp is None:
            return search(belief, LAMP, taste)
        if belief.location != lamp[1]:
            return Intent("go to lamp", visit(belief, lamp[1]), lamp[0], lamp[1])
        return Intent("light", f"toggle {lamp[0]} {lamp[1]}", lamp[0], lamp[1])
    appliance = belief.appliance()
    if not belief.prepared(thing) and appliance is not None:
        if belief.location != appliance:
            return Intent("go prepare", visit(belief, appliance), thing, appliance)
        return Intent("prepare", f"{goal.preparation} {thing} with {appliance}", thing, appliance)
    return deliver(belief, thing)


def _lay_down(belief: Belief, thing: str) -> Intent:
    here, kind = belief.location, type_of(thing)
    if here is not None and can_contain(type_of(here), kind):
        if belief.closed.get(here, False):
            return Intent("make way", f"open {here}", thing, here)
        return Intent("lay down", put(thing, here), thing, here)
    places = [r for r in belief.receptacles if can_contain(type_of(r), kind)]
    place = min(places, key=lambda r: (type_of(r) in OPENABLE, r), default=belief.receptacles[0])
    return Intent("lay down", visit(belief, place), thing, place)
