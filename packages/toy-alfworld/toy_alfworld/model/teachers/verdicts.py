"""The real result of a candidate: the facts that a critique is written from.

Everything comes from the history, the candidate's rollout and its reward, which Figure 5's prompt shows. So a
critique uses nothing that the reader of the prompt could not know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alfworld_compiled.episode import REFUSAL
from sand_dagster.types import Step
from toy_alfworld.games.belief import Belief, type_of
from toy_alfworld.games.catalogue import LAMP, OPENABLE, can_contain, likelihood
from toy_alfworld.games.simulation import game_command

Kind = Literal[
    "tried",  # refused: an action that has just been refused
    "absent",  # refused: takes an object that is not there
    "here",  # refused: goes to the place where it already is
    "nowhere",  # refused: the room has no such place
    "away",  # refused: acts on a place from afar
    "full",  # refused: takes with a full hand
    "empty",  # refused: puts or prepares an object that is not in hand
    "shut",  # refused: reaches into a closed receptacle
    "opened",  # refused: opens a receptacle that is open or cannot be opened
    "unfit",  # refused: prepares with a receptacle that cannot do it
    "refused",  # refused for another reason
    "found",  # sees the wanted object
    "promising",  # is at a closed receptacle that has the wanted object
    "closed",  # is at a closed receptacle, unknown or without the object
    "barren",  # looks in a new place, and the object is not there
    "detour",  # looks in another place than the object's known place
    "again",  # looks again in a place, without a result
    "fetch",  # goes back to where the object is
    "took",  # takes the object of the task
    "stray",  # takes something else
    "undone",  # takes away what was delivered
    "appliance",  # brings the object to where it is prepared
    "prepared",  # cleans, heats or cools it
    "needless",  # prepares it in a way that the task does not need
    "bring",  # brings the finished object to where it belongs
    "early",  # puts it where it belongs before it is prepared
    "wander",  # carries it past where it should go now
    "done",  # puts it where it belongs
    "unload",  # goes where a wrong object can be put down
    "misput",  # puts it elsewhere
    "freed",  # puts down a wrong object
    "dropped",  # puts down the object that has to be in the hand for the light
    "lamp",  # goes to the lamp with the object
    "light",  # turns the lamp on with the object in hand
    "dark",  # turns it on without the object
    "idle",  # looks around, examines, closes
]
Grade = Literal["good", "fair", "poor"]
Likelihood = Literal["likely", "possible", "unlikely"]

GRADES: dict[Kind, Grade] = {
    "tried": "poor",
    "absent": "poor",
    "here": "poor",
    "nowhere": "poor",
    "away": "poor",
    "full": "poor",
    "empty": "poor",
    "shut": "poor",
    "opened": "poor",
    "unfit": "poor",
    "refused": "poor",
    "found": "good",
    "promising": "good",
    "closed": "fair",
    "barren": "fair",
    "detour": "poor",
    "again": "poor",
    "fetch": "good",
    "took": "good",
    "stray": "poor",
    "undone": "poor",
    "appliance": "good",
    "prepared": "good",
    "needless": "poor",
    "bring": "good",
    "early": "poor",
    "wander": "poor",
    "done": "good",
    "unload": "good",
    "misput": "poor",
    "freed": "good",
    "dropped": "poor",
    "lamp": "good",
    "light": "good",
    "dark": "poor",
    "idle": "poor",
}

REFUSALS: frozenset[Kind] = frozenset(
    {"tried", "absent", "here", "nowhere", "away", "full", "empty", "shut", "opened", "unfit", "refused"}
)

SEARCHES: frozenset[Kind] = frozenset({"found", "promising", "closed", "barren"})
"""Looks at a place for the first time: only the rollout shows what is there."""

_LIKELY, _UNLIKELY = 0.25, 0.08
_LOOP = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one candidate.

    `sought` is the word of the wanted type (`apple`), `thing` the object of the action, `place` its
    receptacle (both empty if there is none). `likely` is common sense about the place. `stuck` says that the
    rollout ended in repetitions of the same step.
    """

    action: str
    kind: Kind
    sought: str
    thing: str
    place: str
    likely: Likelihood
    won: bool
    stuck: bool

    @property
    def valid(self) -> bool:
        """Whether the environment accepted the action."""
        return self.kind not in REFUSALS

    @property
    def grade(self) -> Grade:
        """How good the action was by itself, without the player's later steps."""
        return GRADES[self.kind]


def judge(belief: Belief, rollout: Sequence[Step], reward: float) -> Verdict:
    """The verdict on the first step of `rollout`, executed by a player who knew `belief` until then."""
    first = rollout[0]
    verb, _, rest = game_command(first.action.strip()).partition(" ")
    names = re.findall(r"\w+ \d+", rest)
    thing, place = _roles(verb, names)
    sought = _sought(belief)
    kind = _refusal(belief, first.action, verb, thing, place) if first.observation == REFUSAL else ""
    return Verdict(
        action=first.action,
        kind=kind or _effect(belief, verb, thing, place, sought, rollout),
        sought=sought.lower(),
        thing=thing,
        place=place,
        likely=_likely(sought, place),
        won=reward >= 1.0,
        stuck=len(rollout) > _LOOP and len({(s.action, s.observation) for s in rollout[-_LOOP:]}) == 1,
    )


def _roles(verb: str, names: Sequence[str]) -> tuple[str, str]:
    """(object, receptacle) of an action's names."""
    if len(names) >= 2:
        return names[0], names[1]
    if not names:
        return "", ""
    return ("", names[0]) if verb in ("go", "open", "close") else (names[0], "")


def _sought(belief: Belief) -> str:
    """The type that the player has to find or handle now."""
    held = belief.holding is not None and belief.fits(belief.holding)
    return LAMP if held and belief.goal.looks else belief.goal.thing


def known(belief: Belief) -> tuple[str, str] | None:
    """(object, receptacle) of what the player has to find now, where it has been seen."""
    return belief.lamp() if _sought(belief) == LAMP else belief.wanted()


def _likely(sought: str, place: str) -> Likelihood:
    weight = likelihood(sought, type_of(place)) if place else 0.0
    return "likely" if weight >= _LIKELY else "unlikely" if weight < _UNLIKELY else "possible"


def _refusal(belief: Belief, action: str, verb: str, thing: str, place: str) -> Kind:
    if action in belief.refused:
        return "tried"
    if place and place not in belief.receptacles:
        return "nowhere"
    if verb == "go" and place == belief.location:
        return "here"
    if verb == "take" and belief.holding is not None:
        return "full"
    if verb in ("move", "clean", "heat", "cool") and thing != belief.holding:
        return "empty"
    if place and place != belief.location:
        return "away"
    if verb == "open":
        return "opened"
    if verb in ("take", "move") and belief.closed.get(place, False):
        return "shut"
    if verb == belief.goal.preparation and place and type_of(place) != belief.appliances[verb]:
        return "unfit"
    absent = thing and thing not in belief.contents.get(place or belief.location or "", ())
    return "absent" if verb in ("take", "use") and absent else "refused"


def _effect(belief: Belief, verb: str, thing: str, place: str, sought: str, rollout: Sequence[Step]) -> Kind:
    if verb == "go":
        return _going(belief, place, sought, rollout)
    if verb == "open":
        return _opening(belief, place, sought, rollout)
    if verb == "take":
        if not belief.fits(thing):
            return "stray"
        return (
            "undone"
            if not belief.goal.looks and thing in belief.delivered(place) and place == belief.end()
            else "took"
        )
    if verb in ("clean", "heat", "cool"):
        needed = verb == belief.goal.preparation and belief.fits(thing) and not belief.prepared(thing)
        return "prepared" if needed else "needless"
    if verb == "move":
        if not belief.fits(thing):
            return "freed"
        if belief.goal.looks:
            return "dropped"
        if type_of(place) != belief.goal.target:
            return "misput"
        return "done" if belief.prepared(thing) else "early"
    if verb == "use":
        return (
            "light"
            if belief.holding is not None and belief.fits(belief.holding) and belief.goal.looks
            else "dark"
        )
    return "idle"


def _going(belief: Belief, place: str, sought: str, rollout: Sequence[Step]) -> Kind:
    held = belief.holding
    if held is not None and not belief.fits(held) and can_contain(type_of(place), type_of(held)):
        return "unload"
    if held is None or not belief.fits(held) or belief.goal.looks:
        kind = _looking(belief, place, sought, rollout)
        return "lamp" if sought == LAMP and kind == "fetch" else kind
    if not belief.prepared(held):
        verb = belief.goal.preparation
        return "appliance" if verb and type_of(place) == belief.appliances[verb] else "wander"
    return "bring" if type_of(place) == belief.goal.target else "wander"


def _opening(belief: Belief, place: str, sought: str, rollout: Sequence[Step]) -> Kind:
    held = belief.holding
    if held is not None and belief.fits(held) and not belief.goal.looks:
        return "bring" if type_of(place) == belief.goal.target and belief.prepared(held) else "idle"
    return _looking(belief, place, sought, rollout)


def _looking(belief: Belief, place: str, sought: str, rollout: Sequence[Step]) -> Kind:
    """A look at a receptacle for an object of type `sought`."""
    after = belief.copy()
    after.update(rollout[0].action, rollout[0].observation)
    done = () if belief.goal.looks else belief.delivered(belief.end() or "")
    here = [t for t in after.contents.get(place, ()) if type_of(t) == sought and t not in done]
    if here and not after.closed.get(place, False):
        return "fetch" if here[0] in belief.contents.get(place, ()) else "found"
    if known(belief) is not None:
        return "detour"
    if place in belief.contents:
        return "again"
    if not (type_of(place) in OPENABLE and after.closed.get(place, False)):
        return "barren"
    if len(rollout) > 1 and rollout[1].action == f"open {place}":
        after.update(rollout[1].action, rollout[1].observation)
        return "promising" if any(type_of(t) == sought for t in after.contents.get(place, ())) else "closed"
    return "closed"
