"""The player's thoughts: a short, varied sentence or two before each action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from alfworld_compiled.episode import REFUSAL
from toy_alfworld.games.belief import Belief, type_of
from toy_alfworld.games.catalogue import likelihood
from toy_alfworld.games.game import Goal
from toy_alfworld.games.intents import Intent, Purpose

_INSIDE = frozenset(
    {
        "Cabinet",
        "Drawer",
        "Fridge",
        "Microwave",
        "Safe",
        "SinkBasin",
        "BathtubBasin",
        "GarbageCan",
        "LaundryHamper",
    }
)
_SAID_BY_PLAN = frozenset({"prepare", "put", "light"})
"""Purposes whose plans name the player's place, so that a remark would usually repeat it."""
_LIKELY, _POSSIBLE = 0.25, 0.08
STATES: Mapping[str, str] = {"clean": "clean", "heat": "hot", "cool": "cool"}

_PLANS: Mapping[Purpose, Sequence[str]] = {
    "look inside": (
        "I have to open it to see what is inside.",
        "I will open the {r} and look for {a_thing}.",
        "To know whether it holds {a_thing}, I need to open it.",
        "Next I open the {r}.",
    ),
    "fetch": (
        "I saw the {t} at the {r}, so I go back there.",
        "The {t} is {at} the {r}; I will go and get it.",
        "I remember the {t} {at} the {r}, so I go there.",
    ),
    "take": (
        "I take the {t} from the {r}.",
        "I need the {t}, so I pick it up.",
        "Now I can take the {t}.",
    ),
    "go prepare": (
        "It has to be {state} first, so I go to the {r}.",
        "I will go to the {r} to {verb} it.",
        "Before I put it away I have to {verb} it with the {r}.",
    ),
    "prepare": (
        "The {r} is here, so I {verb} the {t} now.",
        "I can {verb} the {t} here.",
        "With the {r} I can {verb} the {t}.",
    ),
    "bring": (
        "Now I bring the {t} to the {r}.",
        "The {t} belongs {at} the {r}, so I go there.",
        "Next I go to the {r} to put the {t} there.",
    ),
    "make way": (
        "I open it before I put the {t} in.",
        "I need to open the {r} before I can put the {t} in it.",
        "To put the {t} inside I have to open the {r}.",
    ),
    "put": (
        "I put the {t} {at} the {r}.",
        "This is the place for the {t}, so I put it down here.",
        "Now I can put the {t} {at} the {r}.",
    ),
    "go to lamp": (
        "The {t} is {at} the {r}, so I go there with it.",
        "I need light, and I saw the {t} {at} the {r}.",
        "Now I go to the {r}, where the {t} is.",
    ),
    "light": (
        "I turn on the {t} to look at it.",
        "With it in my hand I switch on the {t}.",
        "I am at the {t}, so I turn it on.",
    ),
    "lay down": (
        "The {t} is not what I need, so I get rid of it.",
        "I do not need the {t}; I have to free my hand first.",
        "This is the wrong object, so I lay the {t} down {at} the {r}.",
    ),
    "check again": (
        "I have looked everywhere, so I must have missed something and check the room again.",
        "I look around once more to see what is left to do.",
    ),
}
_SEARCHES: Mapping[str, Sequence[str]] = {
    "likely": (
        "{A_thing} is often {at} a {word}, so I go to the {r}.",
        "The {r} is a likely place for {a_thing}, so I look there.",
        "People keep {a_thing} {at} a {word}, so I check the {r}.",
    ),
    "possible": (
        "It could be {at} the {r}, so I check there.",
        "{A_thing} may be {at} the {r}.",
        "Next I look for {a_thing} at the {r}.",
    ),
    "unlikely": (
        "It is not a usual place, but I will try the {r}.",
        "I have not seen the {r} yet, so I look there too.",
        "Maybe {a_thing} was left {at} the {r}.",
    ),
}


def goal_phrase(goal: Goal) -> str:
    """The goal in the player's words, after "I need to"."""
    thing, target = goal.thing.lower(), goal.target.lower()
    if goal.looks:
        return f"look at {article(thing)} under the {target}"
    if goal.count == 2:
        return f"put two {plural(thing)} {preposition(goal.target)} the {target}"
    state = f"{STATES[goal.preparation]} " if goal.preparation else ""
    return f"put {article(state + thing)} {preposition(goal.target)} the {target}"


def plural(word: str) -> str:
    """`boxes`, `knives`, `mugs`."""
    if word.endswith("fe"):
        return f"{word[:-2]}ves"
    return f"{word}es" if word.endswith(("s", "x", "sh", "ch", "to")) else f"{word}s"


def article(words: str) -> str:
    """`an apple`, `a mug`."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def preposition(receptacle: str) -> str:
    """`in` a drawer, `on` a desk; for a name or a type."""
    return "in" if type_of(receptacle) in _INSIDE or receptacle in _INSIDE else "on"


def think(belief: Belief, intent: Intent, rng: Random) -> str:
    """A thought that leads to `intent`: usually a remark and a plan, sometimes only the plan."""
    unsaid = 0.7 if intent.purpose in _SAID_BY_PLAN else 0.0 if belief.refused else 0.15
    seen = None if rng.random() < unsaid else remark(belief, rng)
    plan = _plan(belief, intent, rng)
    return plan if seen is None else f"{seen} {plan}"


def _plan(belief: Belief, intent: Intent, rng: Random) -> str:
    goal = belief.goal
    word = type_of(intent.thing).lower()
    verb = goal.preparation or ""
    if intent.purpose == "search":
        chance = likelihood(type_of(intent.thing), type_of(intent.receptacle))
        templates = _SEARCHES[
            "likely" if chance >= _LIKELY else "possible" if chance >= _POSSIBLE else "unlikely"
        ]
    else:
        templates = _PLANS[intent.purpose]
    a_thing = article(word)
    return rng.choice(templates).format(
        t=intent.thing,
        r=intent.receptacle,
        at=preposition(intent.receptacle) if intent.receptacle else "in",
        word=intent.receptacle.split(" ")[0],
        a_thing=a_thing,
        A_thing=a_thing[0].upper() + a_thing[1:],
        verb=verb,
        state={"clean": "cleaned", "heat": "heated", "cool": "cooled"}.get(verb, ""),
    )


def remark(belief: Belief, rng: Random) -> str | None:
    """A remark on the last observation; None if there is nothing to say."""
    if not belief.steps:
        return f"I need to {goal_phrase(belief.goal)}."
    last = belief.steps[-1]
    if last.observation == REFUSAL:
        return rng.choice(("That did nothing.", "That did not work.", "Nothing happened."))
    verb = last.action.partition(" ")[0]
    if verb in ("go", "open", "examine"):
        return _sight(belief, rng)
    return _outcome(belief, verb, rng)


def _sight(belief: Belief, rng: Random) -> str | None:
    here = belief.location
    if here is None:
        return None
    if belief.closed.get(here, False):
        return rng.choice((f"The {here} is closed.", f"I am at the {here}, but it is closed."))
    things = belief.contents.get(here, ())
    wanted = [thing for thing in things if belief.fits(thing)]
    at = preposition(here)
    if belief.holding is not None:
        return rng.choice((f"I am at the {here} with the {belief.holding}.", f"This is the {here}."))
    if not things and rng.random() < 0.3:
        return f"The {here} is empty."
    # The object's name comes first, so that the statement can follow from the name.
    sought = article(belief.goal.thing.lower())
    if wanted:
        return rng.choice(
            (
                f"I need {sought}: there is the {wanted[0]}.",
                f"I look for {sought}, and the {wanted[0]} is here.",
                f"{sought.capitalize()}? The {wanted[0]} is {at} the {here}.",
            )
        )
    return rng.choice(
        (
            f"I need {sought}: it is not {at} the {here}.",
            f"I look for {sought}, but none is here.",
            f"{sought.capitalize()}? Not {at} the {here}.",
        )
    )


def _outcome(belief: Belief, verb: str, rng: Random) -> str | None:
    goal, thing = belief.goal, belief.holding
    if verb == "take" and thing is not None:
        return rng.choice(
            (f"I have the {thing} now.", f"I am holding the {thing}.", f"Now I hold the {thing}.")
        )
    if verb in STATES and thing is not None:
        return rng.choice((f"The {thing} is {STATES[verb]} now.", f"I have the {STATES[verb]} {thing}."))
    if verb in ("put", "move"):
        end = belief.end()
        if goal.count == 2 and end is not None and len(belief.delivered(end)) == 1:
            word = goal.thing.lower()
            return rng.choice((f"The first {word} is in place.", f"One {word} is done, one is left."))
        return rng.choice(("That is put down.", "My hand is free again."))
    return None
