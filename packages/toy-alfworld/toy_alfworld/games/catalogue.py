"""The objects of a household and their usual places, for the generator and the expert.

Receptacles, objects and the allowed places are ALFRED's (`alfworld.gen.constants`). The frequencies are this
project's; they are more uneven than ALFRED's, so that knowing where to look helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from alfworld.gen import constants

LAMP = "DeskLamp"

OPENABLE = frozenset({"Cabinet", "Drawer", "Fridge", "Microwave", "Safe"})

PROPERTIES: Mapping[str, frozenset[str]] = {
    "cleanable": frozenset(constants.VAL_ACTION_OBJECTS["Cleanable"]),
    "coolable": frozenset(constants.VAL_ACTION_OBJECTS["Coolable"]),
    "heatable": frozenset(constants.VAL_ACTION_OBJECTS["Heatable"]),
    "isReceptacleObject": frozenset(constants.MOVABLE_RECEPTACLES),
    "sliceable": frozenset(constants.VAL_ACTION_OBJECTS["Sliceable"]),
    "toggleable": frozenset(constants.VAL_ACTION_OBJECTS["Toggleable"]),
}
"""The domain's predicates over objects, each with the object types that have it."""

Rules = Literal["usual", "odd"]
APPLIANCES: Mapping[Rules, Mapping[str, str]] = {
    "usual": {"clean": "SinkBasin", "heat": "Microwave", "cool": "Fridge"},
    "odd": {"clean": "Microwave", "heat": "Fridge", "cool": "SinkBasin"},
}
"""By rules: the receptacle type that each way of preparing an object needs. ALFWorld's are the usual ones."""


@dataclass(frozen=True, slots=True)
class Habit:
    """How common an object type is in a kind of room, and its receptacle types with weights."""

    frequency: float
    places: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RoomKind:
    """A kind of room: its receptacle types with the least and most of each, and its objects' usual places."""

    name: str
    first_scene: int
    receptacles: Mapping[str, tuple[int, int]]
    habits: Mapping[str, Habit]


def _receptacles(text: str) -> dict[str, tuple[int, int]]:
    """Parse `Type least most` items separated by commas."""
    items = (item.split() for item in text.split(","))
    return {name: (int(least), int(most)) for name, least, most in items}


def _habits(text: str) -> dict[str, Habit]:
    """Parse lines `Object frequency: Receptacle weight, ...`."""
    habits = {}
    for line in text.strip().splitlines():
        head, _, places = line.partition(":")
        name, frequency = head.split()
        weights = (place.split() for place in places.split(","))
        habits[name] = Habit(float(frequency), {place: float(weight) for place, weight in weights})
    return habits


_KITCHEN = RoomKind(
    "kitchen",
    1000,
    _receptacles(
        "CounterTop 1 2, Cabinet 1 4, Drawer 1 3, Fridge 1 1, Microwave 1 1, SinkBasin 1 1, StoveBurner 0 2,"
        "CoffeeMachine 0 1, GarbageCan 0 1, DiningTable 0 1, Shelf 0 1, SideTable 0 1, Toaster 0 1"
    ),
    _habits(
        """
        Apple 10: Fridge 45, CounterTop 30, DiningTable 15, GarbageCan 5, SinkBasin 5
        Bowl 8: Cabinet 55, CounterTop 15, DiningTable 12, Shelf 8, Fridge 5, SinkBasin 5
        Bread 7: CounterTop 60, DiningTable 25, Fridge 10, SideTable 5
        ButterKnife 6: Drawer 45, CounterTop 30, DiningTable 20, SinkBasin 5
        Cup 8: Cabinet 50, CounterTop 20, DiningTable 10, SinkBasin 10, Microwave 5, Shelf 5
        DishSponge 5: SinkBasin 45, CounterTop 25, Drawer 15, Cabinet 15
        Egg 9: Fridge 65, CounterTop 20, SinkBasin 6, GarbageCan 5, Microwave 4
        Fork 7: Drawer 60, CounterTop 18, DiningTable 15, SinkBasin 7
        Glassbottle 4: Cabinet 45, CounterTop 25, DiningTable 12, Shelf 10, Fridge 8
        Kettle 4: StoveBurner 50, CounterTop 25, Cabinet 25
        Knife 6: Drawer 45, CounterTop 35, DiningTable 15, SinkBasin 5
        Ladle 5: Drawer 50, CounterTop 30, Cabinet 15, SinkBasin 5
        Lettuce 7: Fridge 60, CounterTop 22, DiningTable 12, SinkBasin 6
        Mug 10: Cabinet 35, CoffeeMachine 30, CounterTop 20, SinkBasin 8, DiningTable 7
        Pan 7: StoveBurner 65, CounterTop 20, Cabinet 15
        PepperShaker 6: Cabinet 45, CounterTop 25, DiningTable 20, Shelf 5, Drawer 5
        Plate 8: Cabinet 55, CounterTop 18, DiningTable 18, SinkBasin 5, Shelf 4
        Pot 7: StoveBurner 70, CounterTop 15, Cabinet 15
        Potato 9: Fridge 40, CounterTop 35, SinkBasin 10, DiningTable 10, GarbageCan 5
        SaltShaker 6: Cabinet 45, CounterTop 25, DiningTable 20, Shelf 5, Drawer 5
        SoapBottle 4: CounterTop 45, Cabinet 35, GarbageCan 10, Shelf 5, SideTable 5
        Spatula 6: Drawer 50, CounterTop 35, DiningTable 10, SinkBasin 5
        Spoon 7: Drawer 60, CounterTop 18, DiningTable 15, SinkBasin 7
        Tomato 9: Fridge 55, CounterTop 25, DiningTable 12, GarbageCan 4, SinkBasin 4
        Vase 2: Shelf 60, CounterTop 20, DiningTable 15, Cabinet 5
        WineBottle 4: Cabinet 40, CounterTop 30, DiningTable 20, Shelf 10
        """
    ),
)

_LIVING_ROOM = RoomKind(
    "living room",
    2000,
    _receptacles(
        "Sofa 1 1, CoffeeTable 1 1, ArmChair 0 2, SideTable 1 2, Drawer 0 3, Shelf 0 3, DiningTable 0 1, "
        "Dresser 0 1, TVStand 0 1, GarbageCan 0 1, Cabinet 0 2, Ottoman 0 1, Safe 0 1"
    ),
    _habits(
        """
        Book 6: Shelf 40, CoffeeTable 25, Sofa 15, SideTable 10, ArmChair 10
        Bowl 3: DiningTable 45, CoffeeTable 35, Shelf 20
        Box 4: Sofa 25, CoffeeTable 25, DiningTable 25, Shelf 15, ArmChair 10
        Candle 3: SideTable 40, CoffeeTable 30, DiningTable 20, Shelf 10
        CellPhone 5: CoffeeTable 30, Sofa 30, SideTable 20, DiningTable 10, Drawer 10
        CreditCard 7: Drawer 30, CoffeeTable 20, SideTable 15, Sofa 15, Safe 10, ArmChair 10
        DeskLamp 3: SideTable 90, CoffeeTable 10
        KeyChain 7: Drawer 35, SideTable 20, CoffeeTable 15, Safe 15, Sofa 8, ArmChair 7
        Laptop 5: Sofa 35, CoffeeTable 30, DiningTable 20, ArmChair 15
        Newspaper 6: Sofa 30, CoffeeTable 25, ArmChair 20, DiningTable 15, GarbageCan 10
        Pen 3: Drawer 35, CoffeeTable 30, SideTable 30, GarbageCan 5
        Pencil 3: Drawer 40, SideTable 30, CoffeeTable 25, GarbageCan 5
        Pillow 6: Sofa 75, ArmChair 20, Ottoman 5
        Plate 3: DiningTable 55, CoffeeTable 35, Shelf 10
        RemoteControl 8: Sofa 30, CoffeeTable 25, TVStand 20, ArmChair 15, Drawer 10
        Statue 5: Shelf 45, Dresser 20, CoffeeTable 15, SideTable 10, DiningTable 10
        TissueBox 4: CoffeeTable 40, SideTable 30, TVStand 10, Drawer 10, Shelf 10
        Vase 5: Shelf 45, CoffeeTable 20, DiningTable 20, Dresser 15
        Watch 5: Drawer 35, SideTable 20, Safe 20, CoffeeTable 15, Dresser 10
        WateringCan 2: Shelf 40, Cabinet 40, SideTable 20
        """
    ),
)

_BEDROOM = RoomKind(
    "bedroom",
    3000,
    _receptacles(
        "Bed 1 1, Desk 1 1, Drawer 1 4, Shelf 0 3, SideTable 1 2, Dresser 0 1, GarbageCan 0 1, "
        "LaundryHamper 0 1, Safe 0 1, ArmChair 0 1, Cabinet 0 1"
    ),
    _habits(
        """
        AlarmClock 7: SideTable 45, Desk 25, Dresser 20, Shelf 10
        Book 7: Bed 40, Desk 25, Shelf 20, Drawer 10, SideTable 5
        Bowl 3: Desk 40, Shelf 40, Dresser 20
        CD 6: Drawer 40, Shelf 25, Desk 20, GarbageCan 8, Safe 7
        CellPhone 8: Bed 35, SideTable 25, Desk 20, Drawer 15, Dresser 5
        CreditCard 7: Drawer 40, Safe 15, Desk 20, Dresser 15, Shelf 10
        DeskLamp 4: Desk 55, SideTable 30, Dresser 15
        KeyChain 7: Drawer 35, SideTable 20, Dresser 15, Desk 15, Safe 15
        Laptop 6: Bed 50, Desk 45, Dresser 5
        Mug 4: Desk 55, SideTable 25, Shelf 15, Dresser 5
        Pen 8: Desk 50, Drawer 30, Shelf 10, SideTable 10
        Pencil 8: Desk 50, Drawer 30, Shelf 10, SideTable 5, GarbageCan 5
        Pillow 7: Bed 90, ArmChair 10
        RemoteControl 3: Drawer 45, SideTable 30, Desk 15, Dresser 10
        Statue 3: Shelf 60, Dresser 25, Desk 15
        TissueBox 4: SideTable 40, Desk 30, Drawer 20, Shelf 10
        Vase 3: Shelf 55, Dresser 30, SideTable 15
        Watch 5: Drawer 40, SideTable 25, Dresser 20, Safe 15
        """
    ),
)

_BATHROOM = RoomKind(
    "bathroom",
    4000,
    _receptacles(
        "Toilet 1 1, SinkBasin 1 2, CounterTop 1 1, Cabinet 1 3, Drawer 0 2, ToiletPaperHanger 1 1,"
        "HandTowelHolder 0 1, TowelHolder 0 1, BathtubBasin 0 1, GarbageCan 1 1,"
        "Shelf 0 1, Cart 0 1, SideTable 0 1"
    ),
    _habits(
        """
        Candle 7: CounterTop 35, Toilet 25, Shelf 20, Cabinet 10, Drawer 10
        Cloth 7: BathtubBasin 30, Cabinet 30, Drawer 20, CounterTop 15, Cart 5
        DishSponge 4: SinkBasin 35, BathtubBasin 25, Cabinet 20, CounterTop 10, Drawer 10
        HandTowel 5: HandTowelHolder 90, CounterTop 10
        SoapBar 8: SinkBasin 35, BathtubBasin 20, CounterTop 20, Toilet 10, Cabinet 10, Drawer 5
        SoapBottle 7: CounterTop 40, Cabinet 30, Toilet 15, Shelf 10, GarbageCan 5
        SprayBottle 7: Cabinet 45, CounterTop 20, Toilet 15, Shelf 10, GarbageCan 10
        TissueBox 4: CounterTop 40, Toilet 20, Shelf 20, Cart 10, Drawer 10
        ToiletPaper 9: Cabinet 40, Toilet 25, Drawer 15, CounterTop 10, GarbageCan 5, Shelf 5
        Towel 4: TowelHolder 100
        """
    ),
)

ROOM_KINDS: Mapping[str, RoomKind] = {
    kind.name: kind for kind in (_KITCHEN, _LIVING_ROOM, _BEDROOM, _BATHROOM)
}


@cache
def can_contain(receptacle: str, thing: str) -> bool:
    """Whether ALFRED lets an object of type `thing` be put into a receptacle of type `receptacle`."""
    return thing in constants.VAL_RECEPTACLE_OBJECTS.get(receptacle, ())


@cache
def types_by_word() -> Mapping[str, str]:
    """The types by the word that the game's text uses for them: `sidetable` is `SideTable`."""
    names = {name for kind in ROOM_KINDS.values() for name in (*kind.receptacles, *kind.habits)}
    return {
        name.lower(): name for name in sorted(names | set(constants.OBJECTS) | set(constants.RECEPTACLES))
    }


@cache
def likelihood(thing: str, receptacle: str) -> float:
    """How likely, by common sense, an object of this type is in a receptacle of this type.

    A weight in (0, 1], the mean over the kinds of room that have both. Receptacles that are never named with
    the object have a small weight, because objects can be misplaced.
    """
    weights = []
    for kind in ROOM_KINDS.values():
        habit = kind.habits.get(thing)
        if habit is not None and receptacle in kind.receptacles:
            weights.append(habit.places.get(receptacle, 0.0) / sum(habit.places.values()))
    return max(sum(weights) / len(weights) if weights else 0.0, _MISPLACED)


_MISPLACED = 0.02
