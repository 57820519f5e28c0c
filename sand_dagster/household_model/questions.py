"""The teacher of answers about a game so far: what was seen where, and whether an action would work."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from sand_dagster.environments.household.belief import Belief
from sand_dagster.environments.household.thoughts import article, preposition
from sand_dagster.household_model.critiques import judgement
from sand_dagster.household_model.verdicts import Verdict
from sand_dagster.household_model.wording import sentence

_WORDS = {"judge": 4, "find": 2, "recall": 2, "list": 1, "self": 1}
"""Kinds of questions, and how often each is asked."""


def question(rng: Random, belief: Belief, verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """A question about the game that led to `belief`, and its answer."""
    kind = rng.choices(list(_WORDS), list(_WORDS.values()))[0]
    if kind == "judge":
        verdict = rng.choice(verdicts)
        clause = judgement(rng, belief, verdict, informed=False)
        return f"What do you think of this: {verdict.action}?", sentence(clause)
    if kind == "find":
        return _find(rng, belief)
    if kind == "recall":
        place = rng.choice(belief.receptacles)
        return f"What is {preposition(place)} the {place}?", _recall(belief, place)
    if kind == "list":
        return "Which places have you not seen into yet?", _listed(
            "The", belief.unexplored(), "None is left."
        )
    if rng.random() < 0.5:
        return "Where are you?", f"I am at the {belief.location}." if belief.location else "In the middle."
    return "What do you hold?", f"I hold the {belief.holding}." if belief.holding else "I hold nothing."


def _find(rng: Random, belief: Belief) -> tuple[str, str]:
    """Where a thing of some type is: mostly what the task is about, sometimes what was seen."""
    kinds = [belief.goal.thing] * 2
    kinds += [thing.split()[0] for things in belief.contents.values() for thing in things]
    word = rng.choice(kinds).lower()
    asked = f"Where is {article(word)}?"
    if belief.holding and belief.holding.split()[0] == word:
        return asked, f"I hold the {belief.holding}."
    for place, things in belief.contents.items():
        for thing in things:
            if thing.split()[0] == word:
                return asked, f"The {thing} is {preposition(place)} the {place}."
    return asked, f"I have not seen {article(word)} yet."


def _recall(belief: Belief, place: str) -> str:
    if place in belief.contents:
        return _listed("The", belief.contents[place], "Nothing.")
    return f"The {place} is closed." if belief.closed.get(place, False) else "I have not looked there yet."


def _listed(opening: str, names: Sequence[str], empty: str) -> str:
    return f"{opening} {', the '.join(names)}." if names else empty
