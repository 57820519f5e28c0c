"""What a player knows, from only the instruction and the observations, like the agent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Self

from alfworld_compiled.episode import REFUSAL
from sand_dagster.types import Step
from toy_alfworld.games.catalogue import (
    APPLIANCES,
    LAMP,
    OPENABLE,
    Rules,
    likelihood,
    types_by_word,
)
from toy_alfworld.games.game import Goal, TaskKind
from toy_alfworld.games.simulation import game_command

_GOALS: Sequence[tuple[str, TaskKind]] = (
    (r"put a clean (\w+) in (\w+)", "pick_clean_then_place_in_recep"),
    (r"clean some (\w+) and put it in (\w+)", "pick_clean_then_place_in_recep"),
    (r"put a hot (\w+) in (\w+)", "pick_heat_then_place_in_recep"),
    (r"heat some (\w+) and put it in (\w+)", "pick_heat_then_place_in_recep"),
    (r"put a cool (\w+) in (\w+)", "pick_cool_then_place_in_recep"),
    (r"cool some (\w+) and put it in (\w+)", "pick_cool_then_place_in_recep"),
    (r"put two (\w+) in (\w+)", "pick_two_obj_and_place"),
    (r"find two (\w+) and put them in (\w+)", "pick_two_obj_and_place"),
    (r"look at (\w+) under the (\w+)", "look_at_obj_in_light"),
    (r"examine the (\w+) with the (\w+)", "look_at_obj_in_light"),
    (r"put a (\w+) in (\w+)", "pick_and_place_simple"),
    (r"put some (\w+) on (\w+)", "pick_and_place_simple"),
)
_TASK = re.compile(r"Your task is to: (.+?)\.?\s*$", re.MULTILINE)
_NAME = re.compile(r"\ban? (\w+ \d+)")
_CONTENTS = re.compile(r"(?:On the \w+ \d+|In it), you see (.*)\.$")
_ARRIVAL = re.compile(r"^You arrive at \w+ \d+\. ")


def type_of(name: str) -> str:
    """`SideTable` for `sidetable 2`."""
    word = name.split()[0]
    return types_by_word().get(word, word)


def parse_goal(instruction: str) -> Goal:
    """The goal that an instruction ends with.

    Raises:
        ValueError: the task has none of the forms of ALFWorld's templates.
    """
    task = _TASK.search(instruction)
    if task is not None:
        for pattern, kind in _GOALS:
            if found := re.fullmatch(pattern, task[1]):
                return Goal(kind, type_of(found[1]), type_of(found[2]))
    raise ValueError(
        f"the instruction names no task in any of ALFWorld's templates ('Your task is to: put a X in Y.'): "
        f"{instruction[-120:]!r}"
    )


class Belief:
    """What a player knows after some steps. Updated in place by `update`; `copy` gives an independent one.

    Attributes:
        goal: what is to be done.
        appliances: the receptacle type for each way of preparing an object, by the rules that the player
            believes in.
        receptacles: all receptacles of the room, in the order of the instruction.
        location: the receptacle the player stands at, None in the middle of the room.
        holding: the object in hand.
        contents: the objects (as last seen) in each receptacle that was looked into.
        closed: for each openable receptacle that was visited, whether it is closed.
        states: the preparations (`clean`, `heat`, `cool`) that each object has now.
        lit: the lamps that were turned on.
        steps: the actions and observations so far, without the thoughts.
        refused: the actions refused since the last accepted one.
    """

    def __init__(self, instruction: str, rules: Rules = "usual") -> None:
        self.goal = parse_goal(instruction)
        self.appliances = APPLIANCES[rules]
        self.receptacles = tuple(_NAME.findall(instruction.partition("Your task is to:")[0]))
        self._instances = Counter(map(type_of, self.receptacles))
        self.location: str | None = None
        self.holding: str | None = None
        self.contents: dict[str, tuple[str, ...]] = {}
        self.closed: dict[str, bool] = {}
        self.states: dict[str, frozenset[str]] = {}
        self.lit: frozenset[str] = frozenset()
        self.steps: tuple[Step, ...] = ()
        self.refused: tuple[str, ...] = ()

    def copy(self) -> Self:
        """An independent copy."""
        other = copy(self)
        other.contents, other.closed, other.states = dict(self.contents), dict(self.closed), dict(self.states)
        return other

    def update(self, action: str, observation: str) -> None:
        """Add one step: an action, its own or another player's, and the observation."""
        observation = _ARRIVAL.sub("", observation.strip())
        self.steps = (*self.steps, Step("", action, observation))
        if observation == REFUSAL:
            self.refused = (*self.refused, action)
            return
        self.refused = ()
        verb, _, rest = game_command(action).partition(" ")
        names = re.findall(r"\w+ \d+", rest)
        if (verb == "go" and names) or (verb == "examine" and names and names[0] in self.receptacles):
            self.location = names[0]
        if verb in ("go", "open", "close", "examine") and names and names[0] in self.receptacles:
            self._see(names[0], observation)
        elif verb in ("take", "move", "heat", "cool", "clean") and len(names) == 2:
            self._handle(verb, names[0], names[1])
        elif verb == "use" and names:
            self.lit |= {names[0]}

    def _see(self, receptacle: str, observation: str) -> None:
        if found := _CONTENTS.search(observation):
            self.contents[receptacle] = tuple(_NAME.findall(found[1]))
        if type_of(receptacle) in OPENABLE:
            self.closed[receptacle] = found is None

    def _handle(self, verb: str, thing: str, receptacle: str) -> None:
        inside = self.contents.get(receptacle, ())
        if verb == "take":
            self.holding = thing
            self.contents[receptacle] = tuple(other for other in inside if other != thing)
        elif verb == "move":
            self.holding = None
            self.contents[receptacle] = (*inside, thing)
        else:
            undone = {"heat": {"cool"}, "cool": {"heat"}}.get(verb, set())
            self.states[thing] = (self.states.get(thing, frozenset()) | {verb}) - undone

    def prepared(self, thing: str) -> bool:
        """Whether an object is in the state that the goal needs: cleaned, heated or cooled, if required."""
        return self.goal.preparation is None or self.goal.preparation in self.states.get(thing, ())

    def fits(self, thing: str) -> bool:
        """Whether an object is of the goal's type."""
        return type_of(thing) == self.goal.thing

    def of_type(self, kind: str) -> list[str]:
        """The room's receptacles of a type."""
        return [receptacle for receptacle in self.receptacles if type_of(receptacle) == kind]

    def appliance(self) -> str | None:
        """The receptacle that prepares the goal's object; None if none is needed, or the room has none."""
        if self.goal.preparation is None:
            return None
        return self.nearest(self.of_type(self.appliances[self.goal.preparation]))

    def nearest(self, receptacles: Sequence[str]) -> str | None:
        """The one the player stands at, else the first that is known to be open, else the lowest numbered."""
        if self.location in receptacles:
            return self.location
        known = sorted(
            receptacles, key=lambda r: (self.closed.get(r, type_of(r) in OPENABLE), int(r.split()[1]))
        )
        return known[0] if known else None

    def end(self) -> str | None:
        """The receptacle for the goal's objects: the one that already has most of them, else the nearest."""
        ends = self.of_type(self.goal.target)
        counts = {end: len(self.delivered(end)) for end in ends}
        best = max(counts.values(), default=0)
        return self.nearest([end for end in ends if counts[end] == best])

    def delivered(self, end: str) -> list[str]:
        """The objects that are already in `end`, in the state that the goal needs."""
        return [thing for thing in self.contents.get(end, ()) if self.fits(thing) and self.prepared(thing)]

    def known(self, kind: str) -> Iterator[tuple[str, str]]:
        """(object, receptacle) for the objects of a type whose place is known, nearest first."""
        here = self.location
        for receptacle, things in sorted(self.contents.items(), key=lambda item: item[0] != here):
            for thing in things:
                if type_of(thing) == kind:
                    yield thing, receptacle

    def wanted(self) -> tuple[str, str] | None:
        """(object, receptacle) of a goal's object whose place is known and not yet right."""
        end = None if self.goal.looks else self.end()
        done = () if end is None else self.delivered(end)
        return next((found for found in self.known(self.goal.thing) if found[0] not in done), None)

    def lamp(self) -> tuple[str, str] | None:
        """(lamp, receptacle), if a lamp has been seen."""
        return next(self.known(LAMP), None)

    def unexplored(self) -> list[str]:
        """The receptacles that were never looked into."""
        return [receptacle for receptacle in self.receptacles if receptacle not in self.contents]

    def promise(self, receptacle: str, thing: str) -> float:
        """How likely an object of type `thing` is in this receptacle, for a step of looking.

        By common sense: the likelihood of the receptacle's type, shared among the room's receptacles of that
        type, and halved if it has to be opened.
        """
        kind = type_of(receptacle)
        steps = 2 if self.closed.get(receptacle, kind in OPENABLE) and receptacle != self.location else 1
        return likelihood(thing, kind) / self._instances[kind] / steps

    def achieved(self) -> bool:
        """Whether the goal holds, as far as the player knows."""
        if self.goal.looks:
            lamp = self.lamp()
            held = self.holding is not None and self.fits(self.holding)
            return held and lamp is not None and lamp[0] in self.lit and lamp[1] == self.location
        return any(len(self.delivered(end)) >= self.goal.count for end in self.of_type(self.goal.target))
