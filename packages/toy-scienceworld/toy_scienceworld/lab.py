"""ScienceWorld's short tasks without Java: generated scenes, played thousands of times a second.

Only lessons are played here, never an experiment. Rooms are as the simulator describes them in training
variations (`record`); animals, box and task are drawn anew for each scene.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal, Self, get_args

from sand_dagster.environments.scienceworld.domain import REFUSAL
from sand_dagster.environments.scienceworld.environment import ScienceWorldEnvironment
from sand_dagster.environments.scienceworld.specification import spec_of
from sand_dagster.types import StepResult, Task
from toy_scienceworld.knowledge import BORN, BOXES, DOORS, LIFESPANS, ROOMS, Nature, Thing, called, things

Aim = Literal["longest", "shortest", "both", "animal", "plant", "living thing", "non-living thing"]

FITS: Mapping[str, frozenset[Nature]] = {
    "animal": frozenset({"animal"}),
    "plant": frozenset({"plant"}),
    "living thing": frozenset({"animal", "plant"}),
    "non-living thing": frozenset({"thing"}),
}
"""What a find task may ask for, and what that is."""

_RECORDED = "find-animal"

Rooms = Mapping[str, tuple[Sequence[str], Sequence[str]]]
"""Each room's first line with the lines of what is in it, and the lines of its doors."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a task asks for. `box` and its `place` are empty in the lifespan tasks."""

    aim: Aim
    box: str = ""
    place: str = ""

    @property
    def lifespan(self) -> bool:
        return not self.box

    def fits(self, thing: Thing) -> bool:
        """Whether a find task asks for such a thing, and it can be moved. The box itself is none."""
        return thing.nature in FITS[self.aim] and thing.name != self.box and thing.movable

    def description(self) -> str:
        """The simulator's task description."""
        where = "The animals are in the 'outside' location."
        if self.aim == "both":
            task = (
                "find the animal with the longest life span, then the shortest life span. First, focus on "
                "the animal with the longest life span.  Then, focus on the animal with the shortest life "
                f"span. {where}"
            )
        elif self.lifespan:
            animal = f"the animal with the {self.aim} life span"
            task = f"find {animal}.  {where}  Focus on {animal}."
        else:
            task = (
                f"find a(n) {self.aim}. First, focus on the thing. Then, move it to the {self.box} in the "
                f"{self.place}."
            )
        return f"Task Description:\nYour task is to {task}"

    def wanted(self, animals: Sequence[str]) -> list[str]:
        """The animals of a lifespan task to focus on, in order."""
        ordered = sorted(animals, key=lambda name: LIFESPANS[name])
        return {"longest": ordered[-1:], "shortest": ordered[:1]}.get(self.aim, [ordered[-1], ordered[0]])


@dataclass(slots=True)
class Lab:
    """One task under way. `fork` copies it."""

    goal: Goal
    rooms: dict[str, tuple[list[str], list[str]]]
    room: str
    inventory: list[Thing] = field(default_factory=list)
    focused: list[Thing] = field(default_factory=list)
    reward: float = 0.0
    done: bool = False

    def fork(self) -> Self:
        rooms = {name: (list(lines), doors) for name, (lines, doors) in self.rooms.items()}
        return type(self)(
            self.goal, rooms, self.room, list(self.inventory), list(self.focused), self.reward, self.done
        )

    def step(self, action: str) -> StepResult:
        """Execute an action as the simulator would, as far as these tasks need it."""
        observation = self._answer(action.strip().lower()) or REFUSAL
        return StepResult(observation, self.reward, self.done, observation != REFUSAL)

    def here(self) -> list[Thing]:
        lines = self.rooms[self.room][0][1:]
        return [thing for line in lines for thing in things(line)] + self.inventory

    def _answer(self, action: str) -> str | None:
        if action == "look around":
            lines, doors = self.rooms[self.room]
            return "\n\t".join(lines) + f"\n{DOORS}\n\t" + "\n\t".join(doors)
        if action == "inventory":
            held = "".join(f"\n\ta {thing.shown}" for thing in self.inventory)
            return f"In your inventory, you see:\n\tan orange{held}"
        if action in ("wait", "wait1"):
            return f"You decide to wait for {10 if action == 'wait' else 1} iterations."
        verb, _, rest = action.partition(" ")
        if verb == "teleport" and rest.removeprefix("to ") in ROOMS:
            self.room = rest.removeprefix("to ")
            self._earn(0.5 if self.goal.lifespan and self.room == "outside" else 0.17)
            return f"You teleport to the {self.room}."
        if action.startswith(("examine ", "look at ")) and (thing := self._one(rest.removeprefix("at "))):
            return f"a {thing.shown}"
        if action.startswith("focus on ") and (thing := self._one(rest.removeprefix("on "))):
            return self._focus(thing)
        if action.startswith("pick up ") and (thing := self._one(rest.removeprefix("up "))):
            return self._move(thing, "inventory")
        if verb == "move" and " to " in rest:
            moved, _, place = rest.rpartition(" to ")
            thing, target = self._one(moved), self._one(place)
            return self._move(thing, target.name) if thing and target and thing != target else None
        return None

    def _one(self, phrase: str) -> Thing | None:
        found = called(phrase, self.inventory if phrase.endswith(" in inventory") else self.here())
        return found[0] if len(found) == 1 else None

    def _focus(self, thing: Thing) -> str:
        goal = self.goal
        if goal.lifespan:
            lines = self.rooms["outside"][0][1:]
            animals = [t.name for line in lines for t in things(line) if t.name in LIFESPANS]
            wanted = goal.wanted(animals)
            left = wanted[len(self.focused) :]
            right = thing.name == left[0]
            self.done = not right or len(left) == 1
            self._earn((1.0 if self.done else 0.83) if right else 0.0)
        else:
            right = goal.fits(thing) and self.focused in ([], [thing])
            self.done = not right
            self._earn(0.58 if right else 0.0)
        if right and thing not in self.focused:
            self.focused.append(thing)
        return f"You focus on the {thing.shown}."

    def _move(self, thing: Thing, target: str) -> str:
        if not thing.movable:
            return f"The {thing.name} is not moveable."
        moved = [thing, *(t for t in self.here() if t.pot and t.pot == thing.name)]
        if thing not in self.inventory:
            lines = self.rooms[self.room][0]
            holder = next(i for i, line in enumerate(lines) if i and thing in things(line))
            if thing.pot or next(things(lines[holder])) == thing:
                del lines[holder]
        self.inventory = [held for held in self.inventory if held not in moved]
        wanted = any(t in self.focused for t in moved)
        if target == "inventory":
            self.inventory += moved
            self._earn(0.67 if wanted else 0.0)
        elif wanted and target == self.goal.box and self.room == self.goal.place:
            self._earn(1.0)
            self.done = True
        return f"You move the {thing.name} to the {target}."

    def _earn(self, reward: float) -> None:
        self.reward = max(self.reward, reward)


def record(file: Path, variations: int = 60) -> list[Rooms]:
    """The rooms of training variations, as the simulator describes them; kept in `file`.

    Raises:
        EnvironmentDied: the JVM ended.
    """
    if not file.exists():
        with closing(ScienceWorldEnvironment()) as environment:
            worlds = [_rooms(environment, variation) for variation in range(variations)]
        file.write_text(json.dumps(worlds))
    found: list[Rooms] = json.loads(file.read_text())
    return found


def _rooms(environment: ScienceWorldEnvironment, variation: int) -> Rooms:
    task = Task(
        f"{_RECORDED}-{variation}", "scienceworld", "train", _RECORDED, 1, spec_of(_RECORDED, variation)
    )
    environment.reset(task)
    rooms = {}
    for room in ROOMS:
        environment.step(f"teleport to {room}")
        inside, _, doors = environment.step("look around").observation.partition(f"\n{DOORS}\n\t")
        kept = [line for line in inside.split("\n\t") if not any(box in line for box in BOXES)]
        rooms[room] = (kept, doors.rstrip().split("\n\t"))
    return rooms


def make_lab(rng: Random, worlds: Sequence[Rooms], aim: Aim | None = None) -> Lab:
    """A new task: rooms of a recorded variation, other animals outside, a box anywhere."""
    aim = aim or rng.choices(get_args(Aim))[0]
    lifespan = aim in ("longest", "shortest", "both")
    goal = Goal(aim) if lifespan else Goal(aim, rng.choice(BOXES), rng.choice(ROOMS))
    rooms = {name: (list(lines), list(doors)) for name, (lines, doors) in rng.choice(worlds).items()}
    outside = rooms["outside"][0]
    outside[:] = outside[:1] + [
        line for line in outside[1:] if not any(t.nature == "animal" for t in things(line))
    ]
    if lifespan:
        animals = [
            rng.choice([name for name, lived in LIFESPANS.items() if lived == span]) for span in range(3)
        ]
    else:
        animals = rng.sample(sorted(BORN), rng.randint(2, 4))
    for name in animals:
        line = f"a {name} egg" if BORN[name] == "egg" else f"a baby {name}"
        outside.insert(rng.randint(3, len(outside)), line)
    if not lifespan:
        lines = rooms[goal.place][0]
        lines.insert(rng.randint(3, len(lines)), f"a {goal.box} (containing nothing)")
    return Lab(goal, rooms, rng.choice(ROOMS))
