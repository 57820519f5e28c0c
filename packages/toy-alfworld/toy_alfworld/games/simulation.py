"""A household game in plain Python, with exactly the texts of ALFWorld's engine; a step takes microseconds.

It is used to make thousands of games, and by teachers that play them. The experiment itself plays the game
files on ALFWorld's engine; a test compares this simulation with that engine.
"""

from __future__ import annotations

import re
from copy import copy
from typing import Self

from alfworld_compiled.episode import REFUSAL
from alfworld_compiled.spelling import MOVE_USE, as_written
from sand_dagster.types import StepResult
from toy_alfworld.games.catalogue import LAMP, OPENABLE, PROPERTIES, can_contain
from toy_alfworld.games.game import Game
from toy_alfworld.games.pddl import help_text, identifiers

_MIDDLE = "You are in the middle of a room. Looking quickly around you, you see {}."
"""The engine lists the receptacles only in its first observation; a later `look` from there shows nothing."""

_COMMAND = re.compile(
    r"(go to|open|close|examine|use) (\S+ \d+)|"
    r"(take|move|clean|heat|cool|slice) (\S+ \d+) (?:from|to|with) (\S+ \d+)"
)
_JOINS = {"take": "from", "move": "to", "clean": "with", "heat": "with", "cool": "with", "slice": "with"}


def game_command(action: str) -> str:
    """The game's own command for an action in either spelling (`put a 1 in/on b 1` is `move a 1 to b 1`)."""
    return MOVE_USE.respell(as_written(action))


class Simulation:
    """One game being played. Observations are as the agent sees them: without `You arrive at R. `."""

    def __init__(self, game: Game) -> None:
        self.game = game
        ids = {**identifiers(game.room.receptacles, game.room.types), **identifiers(game.places, game.types)}
        self._order = {
            name: i for i, (name, _) in enumerate(sorted(ids.items(), key=lambda item: item[1].lower()))
        }
        self._types = {**game.room.types, **game.types}
        self.places: dict[str, str | None] = dict(game.places)
        self.opened = set(game.room.opened)
        self.location: str | None = None
        self.holding: str | None = None
        self.states: dict[str, frozenset[str]] = {}

    @property
    def instruction(self) -> str:
        """The first observation and the task."""
        listed = _listing(sorted(self.game.room.receptacles, key=self._order.__getitem__))
        return f"{_MIDDLE.format(listed)}\n\nYour task is to: {self.game.sentence}."

    def fork(self) -> Self:
        """An independent copy in the same state."""
        other = copy(self)
        other.places, other.opened, other.states = dict(self.places), set(self.opened), dict(self.states)
        return other

    def step(self, action: str) -> StepResult:
        """Execute one action, in either spelling. The game is done when it is won."""
        text = self._execute(game_command(action))
        won = self.won()
        return StepResult(text or REFUSAL, float(won), won, text is not None)

    def won(self) -> bool:
        """Whether the goal holds now."""
        goal, types = self.game.goal, self.game.types
        things = [thing for thing in types if types[thing] == goal.thing]
        if goal.looks:
            lamps = [lamp for lamp in types if types[lamp] == LAMP and "toggled" in self.states.get(lamp, ())]
            return self.holding in things and any(self.places[lamp] == self.location for lamp in lamps)
        if goal.preparation:
            things = [thing for thing in things if goal.preparation in self.states.get(thing, ())]
        ends = [self.places[thing] for thing in things]
        return any(
            end is not None and self._types[end] == goal.target and ends.count(end) >= goal.count
            for end in ends
        )

    def _execute(self, command: str) -> str | None:
        """The engine's answer, or None if it refuses."""
        if command == "look":
            return self._look()
        if command == "help":
            return help_text()
        if command == "inventory":
            return (
                f"You are carrying: a {self.holding}." if self.holding else "You are not carrying anything."
            )
        parts = _COMMAND.fullmatch(command)
        if parts is None:
            return None
        if parts[1]:
            return self._one(parts[1], parts[2])
        verb, thing, other = parts[3], parts[4], parts[5]
        if f"{verb} {thing} {_JOINS[verb]} {other}" != command or thing not in self.places:
            return None
        if verb == "slice":
            return self._slice(thing, other)
        return self._two(verb, thing, other) if other == self.location else None

    def _one(self, verb: str, name: str) -> str | None:
        if verb == "go to":
            if name not in self.game.room.types or name == self.location:
                return None
            self.location = name
            return self._view(name)
        if verb == "examine" and name in self.places:
            return self._examine(name)
        if verb == "use":
            return self._use(name)
        if name != self.location:
            return None
        if verb == "examine":
            return self._view(name)
        if self._types[name] not in OPENABLE or (name in self.opened) == (verb == "open"):
            return None
        if verb == "close":
            self.opened.discard(name)
            return f"You close the {name}."
        self.opened.add(name)
        return f"You open the {name}. {self._view(name)}"

    def _two(self, verb: str, thing: str, here: str) -> str | None:
        kind = self._types[thing]
        if verb == "take":
            if self.holding or kind == LAMP or self.places[thing] != here or self._closed(here):
                return None
            self.holding, self.places[thing] = thing, None
            return f"You pick up the {thing} from the {here}."
        if thing != self.holding:
            return None
        if verb == "move":
            if self._closed(here) or not can_contain(self._types[here], kind):
                return None
            self.holding, self.places[thing] = None, here
            return f"You move the {thing} to the {here}."
        if kind not in PROPERTIES[f"{verb}able"] or self._types[here] != self.game.appliances[verb]:
            return None
        undone = {"heat": {"cool"}, "cool": {"heat"}}.get(verb, set())
        self.states[thing] = (self.states.get(thing, frozenset()) | {verb}) - undone
        return f"You {verb} the {thing} using the {here}."

    def _use(self, name: str) -> str | None:
        if self._types.get(name) != LAMP or self.location is None or self.places[name] != self.location:
            return None
        self.states[name] = frozenset({"toggled"})
        return f"You turn on the {name}."

    def _slice(self, thing: str, tool: str) -> str | None:
        if self.holding != tool or self._types[tool] not in ("Knife", "ButterKnife"):
            return None
        if self._types[thing] not in PROPERTIES["sliceable"] or self.places[thing] != self.location:
            return None
        self.states[thing] = self.states.get(thing, frozenset()) | {"slice"}
        return f"You sliced the {thing} with the {tool}."

    def _closed(self, receptacle: str) -> bool:
        return self._types[receptacle] in OPENABLE and receptacle not in self.opened

    def _view(self, receptacle: str) -> str:
        if self._closed(receptacle):
            return f"The {receptacle} is closed."
        things = [thing for thing, place in self.places.items() if place == receptacle]
        seen = _listing(sorted(things, key=self._order.__getitem__))
        if self._types[receptacle] in OPENABLE:
            return f"The {receptacle} is open. In it, you see {seen}."
        return f"On the {receptacle}, you see {seen}."

    def _look(self) -> str:
        if self.location is None:
            return _MIDDLE.format("nothing")
        return f"You are facing the {self.location}. Next to it, you see nothing."

    def _examine(self, thing: str) -> str | None:
        """The text about the object in hand. The engine refuses other objects, although the domain should
        allow them."""
        if thing != self.holding:
            return None
        if self._types[thing] in PROPERTIES["isReceptacleObject"]:
            return f"This is a normal {thing}. In it, you see nothing."
        states = self.states.get(thing, frozenset())
        temperature = "hot" if "heat" in states else "cool" if "cool" in states else ""
        if states == {"cool"}:
            temperature = "cold"
        words = " and ".join([temperature] * bool(temperature) + ["clean"] * ("clean" in states))
        described = " ".join([words] * bool(words) + ["sliced"] * ("slice" in states))
        return f"This is a {described} {thing}." if described else f"There's nothing special about {thing}."


def _listing(names: list[str]) -> str:
    items = [f"a {name}" for name in names]
    if len(items) < 2:
        return items[0] if items else "nothing"
    return f"{', '.join(items[:-1])}, and {items[-1]}"
