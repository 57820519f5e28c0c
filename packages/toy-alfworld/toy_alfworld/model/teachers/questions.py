"""The teacher of answers about a game so far: what was seen where, and whether an action would work."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from toy_alfworld.games.belief import Belief
from toy_alfworld.games.catalogue import ROOM_KINDS
from toy_alfworld.games.thoughts import article, preposition
from toy_alfworld.model.teachers.critiques import judgement, stance
from toy_alfworld.model.teachers.verdicts import Verdict
from toy_alfworld.model.teachers.wording import sentence

_WORDS = {"judge": 4.0, "find": 5.0, "recall": 3.0, "options": 2.0, "list": 0.5, "self": 1.2}
"""Kinds of questions, and how often each is asked."""

_THINGS = sorted({thing.lower() for kind in ROOM_KINDS.values() for thing in kind.habits})


def question(rng: Random, belief: Belief, verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """A question about the game that led to `belief`, and its answer, which starts with the requested
    thing."""
    kind = rng.choices(list(_WORDS), list(_WORDS.values()))[0]
    if kind == "judge":
        verdict = rng.choice(verdicts)
        clause, worth = judgement(rng, belief, verdict, False), stance(rng, verdict, informed=False)
        return f"What do you think of this: {verdict.action}?", f"{verdict.action}: {clause}; {worth}."
    if kind == "options":
        return "What could be done here?", sentence(", or ".join(verdict.action for verdict in verdicts))
    if kind == "find":
        return _find(rng, belief)
    if kind == "recall":
        place = rng.choice(list(belief.contents) or belief.receptacles)
        if rng.random() < 0.3:
            place = rng.choice(belief.receptacles)
        return f"What is {preposition(place)} the {place}?", f"The {place}: {_recall(belief, place)}."
    if kind == "list":
        unseen = ", the ".join(belief.unexplored())
        return "Which places have you not seen into yet?", f"The {unseen}." if unseen else "None is left."
    if rng.random() < 0.5:
        return "Where are you?", f"I am at the {belief.location}." if belief.location else "In the middle."
    return "What do you hold?", f"I hold the {belief.holding}." if belief.holding else "I hold nothing."


def _find(rng: Random, belief: Belief) -> tuple[str, str]:
    """A question about the place of an object: the task's object, one that was seen, or one that may not
    exist."""
    seen = [thing.split()[0] for things in belief.contents.values() for thing in things]
    word = rng.choice((belief.goal.thing.lower(), rng.choice(seen or _THINGS), rng.choice(_THINGS)))
    if belief.holding and belief.holding.split()[0] == word:
        return f"Where is {article(word)}?", sentence(f"{article(word)}: the {belief.holding} in my hand")
    found = next(
        ((t, place) for place, things in belief.contents.items() for t in things if t.split()[0] == word),
        None,
    )
    return f"Where is {article(word)}?", sentence(whereabouts(word, found))


def whereabouts(kind: str, found: tuple[str, str] | None) -> str:
    """The place of an object of a type, with its receptacle if it was seen; the type comes first."""
    where = f"the {found[0]} {preposition(found[1])} the {found[1]}" if found else "not seen yet"
    return f"{article(kind.lower())}: {where}"


def _recall(belief: Belief, place: str) -> str:
    if place in belief.contents:
        things = ", the ".join(belief.contents[place])
        return f"the {things}" if things else "nothing"
    return "closed" if belief.closed.get(place, False) else "not looked into yet"
