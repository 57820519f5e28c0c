"""A game in ALFWorld's format: `game.tw-pddl` with the domain and the grammar that alfworld ships."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from alfworld.gen.goal_library import gdict

from toy_alfworld.games.catalogue import APPLIANCES, OPENABLE, PROPERTIES, Rules, can_contain

if TYPE_CHECKING:
    from toy_alfworld.games.game import Game

_START = "loc_bar_00"
_HELP = re.compile(r'"help\.feedback":\s*\[\s*\{\s*"rhs":\s*("(?:[^"\\]|\\.)*")')
_TASK_SLOT = "UNKNOWN GOAL"


def game_file(game: Game) -> dict[str, object]:
    """The content of the game file: the keys of the published ones."""
    return {
        "pddl_domain": _domain(game.rules),
        "grammar": _shipped("alfred.twl2").replace(_TASK_SLOT, game.sentence),
        "pddl_problem": _problem(game),
        "solvable": True,
        "walkthrough": list(game.walkthrough),
    }


def identifiers(names: Iterable[str], types: Mapping[str, str]) -> dict[str, str]:
    """ALFRED-like identifiers by name, such that ALFWorld's demangler turns each into its name.

    The demangler numbers the identifiers of a type from the last in sorted order to the first.
    """
    names = list(names)
    counts = Counter(types[name] for name in names)
    return {name: _identifier(types[name], counts[types[name]] + 1 - int(name.split()[1])) for name in names}


def _identifier(kind: str, rank: int) -> str:
    base = kind.removesuffix("Basin")
    return f"{base}_bar_{rank:02d}" + (f"_bar_{kind}" if base != kind else "")


@cache
def help_text() -> str:
    """The shipped grammar's answer to `help`."""
    found = _HELP.search(_shipped("alfred.twl2"))
    assert found is not None
    text: str = json.loads(found[1])
    return text.removeprefix("\n")


@cache
def _shipped(name: str) -> str:
    return resources.files("alfworld").joinpath(f"data/{name}").read_text()


@cache
def _domain(rules: Rules) -> str:
    """The shipped domain, in which each preparation needs the appliance of the rules."""
    text = _shipped("alfred.pddl")
    for verb, appliance in APPLIANCES[rules].items():
        before, action, after = text.partition(f"(:action {verb.capitalize()}Object")
        precondition, effect, rest = after.partition(":effect")
        precondition = precondition.replace(f"{APPLIANCES['usual'][verb]}Type", f"{appliance}Type")
        text = "".join((before, action, precondition, effect, rest))
    return text


def _problem(game: Game) -> str:
    room = game.room
    receptacles = identifiers(room.receptacles, room.types)
    things = identifiers(game.places, game.types)
    location = {name: f"loc_bar_{i:02d}" for i, name in enumerate(room.receptacles, start=1)}
    rtypes = list(dict.fromkeys(room.types.values()))
    otypes = list(dict.fromkeys(game.types.values()))

    objects = ["agent1 - agent"]
    objects += [f"{_START} - location", *(f"{place} - location" for place in location.values())]
    objects += [f"{name}Type - rtype" for name in rtypes] + [f"{name}Type - otype" for name in otypes]
    objects += [f"{name} - receptacle" for name in receptacles.values()]
    objects += [f"{name} - object" for name in things.values()]

    facts = [f"atLocation agent1 {_START}"]
    for name, identifier in receptacles.items():
        facts.append(f"receptacleType {identifier} {room.types[name]}Type")
        facts.append(f"receptacleAtLocation {identifier} {location[name]}")
        facts += [f"openable {identifier}"] if room.types[name] in OPENABLE else []
        facts += [f"opened {identifier}"] if name in room.opened else []
    facts += [f"canContain {r}Type {o}Type" for r in rtypes for o in otypes if can_contain(r, o)]
    for name, identifier in things.items():
        kind, place = game.types[name], game.places[name]
        properties = [predicate for predicate, kinds in PROPERTIES.items() if kind in kinds]
        if "toggleable" not in properties:
            properties.append("pickupable")
        facts.append(f"objectType {identifier} {kind}Type")
        facts += [f"{predicate} {identifier}" for predicate in properties]
        facts.append(f"inReceptacle {identifier} {receptacles[place]}")
        facts.append(f"objectAtLocation {identifier} {location[place]}")

    return "\n".join(
        [
            f"(define (problem plan_{game.trial})",
            "(:domain alfred)",
            "(:objects",
            *(f"    {entry}" for entry in objects),
            ")",
            "(:init",
            *(f"    ({fact})" for fact in facts),
            ")",
            _goal(game),
        ]
    )


def _goal(game: Game) -> str:
    """The goal, which also closes the problem's parenthesis, as in the library's texts."""
    goal = game.goal
    text: str = gdict[goal.kind]["pddl"]
    return text.format(obj=goal.thing, recep=goal.target, toggle=goal.target).replace("#", "-").strip() + "\n"
