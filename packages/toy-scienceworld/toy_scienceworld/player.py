"""A scripted player of the short tasks: what it knows from the history, its next action, and its mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Self

from sand_dagster.environments.scienceworld.domain import REFUSAL
from sand_dagster.environments.scienceworld.thoughts import thought
from sand_dagster.types import Step
from toy_scienceworld.knowledge import BORN, BOXES, DOORS, LIFESPANS, ROOMS, Thing, called, things
from toy_scienceworld.lab import Goal, Lab

_REFUSED = 0.5


@dataclass(slots=True)
class Belief:
    """What the history says. `room` is None until a teleport or a look names it."""

    goal: Goal
    room: str | None = None
    seen: dict[str, list[Thing]] = field(default_factory=dict)
    focused: list[Thing] = field(default_factory=list)
    held: list[Thing] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Actions that were refused since something else happened."""

    def copy(self) -> Self:
        seen = {room: list(found) for room, found in self.seen.items()}
        return type(self)(self.goal, self.room, seen, list(self.focused), list(self.held), list(self.refused))

    def observe(self, action: str, observation: str) -> None:
        """Take in the answer to an action."""
        self.refused = [*self.refused, action] if observation == REFUSAL else []
        if observation == REFUSAL:
            return
        if action.startswith("teleport to "):
            self.room = action.removeprefix("teleport to ")
        elif action == "look around":
            inside = observation.partition(f"\n{DOORS}")[0].split("\n")
            self.room = next(room for room in ROOMS if f"called the {room}" in inside[0])
            self.seen[self.room] = [thing for line in inside[1:] for thing in things(line)]
        elif action.startswith("focus on "):
            found = called(action.removeprefix("focus on "), self.near())
            self.focused += [thing for thing in found[:1] if thing not in self.focused]
        elif action.startswith("pick up "):
            found = called(action.removeprefix("pick up "), self.near())[:1]
            self.held += [*found, *(t for t in self.near() if found and t.pot == found[0].name)]

    def near(self) -> list[Thing]:
        """What was seen in this room, and what is held."""
        here = self.seen.get(self.room or "", [])
        return [*self.held, *(thing for thing in here if thing not in self.held)]

    @property
    def looked(self) -> bool:
        return self.room in self.seen

    def animals(self) -> list[str]:
        """The animals of a lifespan task, as far as they were seen, the shortest-lived first."""
        found = {thing.name for thing in self.seen.get("outside", ()) if thing.name in LIFESPANS}
        return sorted(found, key=lambda name: (LIFESPANS[name], name))

    def target(self) -> Thing | None:
        """What to focus on next in this room, if it was seen."""
        if self.goal.lifespan:
            left = self.goal.wanted(self.animals())[len(self.focused) :] if self.animals() else []
            return next((t for t in self.near() if left and t.name == left[0]), None)
        return None if self.focused else next((t for t in self.near() if self.goal.fits(t)), None)

    def source(self) -> str:
        """Where the thing to focus on is."""
        if self.goal.lifespan or self.goal.aim in ("animal", "living thing"):
            return "outside"
        return "greenhouse" if self.goal.aim == "plant" else self.goal.place

    def destination(self) -> str:
        """Where the player has to be now."""
        if not self.focused or self.goal.lifespan:
            # Any room with a fitting thing will do, if the player has seen one.
            fitting = self.room and any(self.goal.fits(t) for t in self.near()) if self.goal.box else False
            return self.room if fitting and self.room else self.source()
        return self.goal.place if self.carried() or self.room == self.goal.place else self.room or ""

    def carried(self) -> Thing | None:
        """The focused thing, or its pot, if it is held."""
        return next((t for t in self.held if self.is_it(t)), None)

    def is_it(self, thing: Thing) -> bool:
        """Whether this is what was focused on, or the pot that it is in."""
        return any(thing == f or (f.pot and f.pot == thing.name) for f in self.focused)


def refer(rng: Random, thing: Thing, held: bool = False) -> str:
    """A name of `thing` that the simulator takes."""
    name = thing.names()[0] if rng.random() < 0.4 else rng.choice(thing.names())
    return f"{name} in inventory" if held and rng.random() < 0.6 else name


def best(rng: Random, belief: Belief) -> str:
    """The next sensible action."""
    goal, room = belief.goal, belief.room
    if room != belief.destination():
        if room is None and rng.random() < 0.15:
            return "look around"
        return f"teleport to {belief.destination()}"
    if not belief.looked:
        return "look around"
    if not belief.focused or goal.lifespan:
        target = belief.target()
        if target is None:
            return f"teleport to {belief.source()}" if room != belief.source() else "look around"
        return f"focus on {refer(rng, _one_of(rng, belief, target))}"
    carried = belief.carried()
    it = carried or next((t for t in belief.near() if belief.is_it(t)), belief.focused[0])
    if carried is None and goal.place != room:
        pot = next((t for t in belief.near() if belief.is_it(t) and t != belief.focused[0]), it)
        return f"pick up {refer(rng, pot if rng.random() < 0.8 else it)}"
    return f"move {refer(rng, it, carried is not None)} to {goal.box}"


def _one_of(rng: Random, belief: Belief, target: Thing) -> Thing:
    """Any of the things that fit as well as `target` and have a name of their own."""
    if belief.goal.lifespan:
        return target
    near = belief.near()
    fitting = [t for t in near if belief.goal.fits(t) and len(called(t.names()[0], near)) == 1]
    return rng.choice(fitting or [target])


def mistake(rng: Random, belief: Belief) -> str:
    """An action that a policy may take here, usually a wrong one."""
    near, goal, room = belief.near(), belief.goal, belief.room
    thing = rng.choice(near) if near else None
    unseen = Thing(name := rng.choice(sorted(BORN)), "animal", BORN[name])
    said = refer(rng, thing if thing and rng.random() < 0.7 else unseen)
    animals = [t for t in near if t.nature == "animal"]
    if animals and goal.lifespan and rng.random() < 0.6:
        return f"focus on {refer(rng, rng.choice(animals))}"
    held = (
        refer(rng, rng.choice([*belief.held, *belief.focused]), True)
        if belief.held or belief.focused
        else said
    )
    anywhere = (
        f"teleport to {rng.choice(ROOMS)}",
        f"teleport to {belief.source()}",
        "look around",
        f"focus on {said}",
        f"focus on {goal.aim if goal.box else 'animal'}",
    )
    if goal.lifespan and rng.random() < 0.7:
        return rng.choice(anywhere)
    return rng.choice(
        (
            *anywhere,
            f"teleport to {goal.place or room or 'outside'}",
            f"focus on {said}",
            f"pick up {said}",
            f"pick up {held}",
            f"move {held} to {goal.box or 'inventory'}",
            f"move {held} to {rng.choice(BOXES)}",
            f"move {said} to {goal.box or 'table'}",
            rng.choice(
                ("wait", "inventory", f"examine {said}", f"open {said}", f"go to {rng.choice(ROOMS)}")
            ),
        )
    )


@dataclass(slots=True)
class Player:
    """Plays sensibly with probability `skill` a turn, else makes a mistake."""

    goal: Goal
    skill: float = 1.0
    belief: Belief = field(init=False)

    def __post_init__(self) -> None:
        self.belief = Belief(self.goal)

    def act(self, rng: Random) -> str:
        action = best(rng, self.belief) if rng.random() < self.skill else mistake(rng, self.belief)
        if action in self.belief.refused and rng.random() < _REFUSED:
            return best(rng, self.belief)
        return action


def play(rng: Random, lab: Lab, player: Player, limit: int, thinks: bool = True) -> Iterator[Step]:
    """Up to `limit` turns, or to the end of the task."""
    description = lab.goal.description()
    for _ in range(limit):
        if lab.done:
            return
        action = player.act(rng)
        observation = lab.step(action).observation
        player.belief.observe(action, observation)
        yield Step(thought(description, action) if thinks else "", action, observation)
