"""The teacher of critiques (Eq. 5, Figure 5) and of the judgements that deliberations take from them."""

from __future__ import annotations

from random import Random

from sand_dagster.environments.household.belief import Belief
from sand_dagster.environments.household.thoughts import article, preposition
from sand_dagster.household_model.phrases import CHANCES, CHOSEN, CLOSINGS, LEADS, WORDS
from sand_dagster.household_model.verdicts import SEARCHES, Verdict
from sand_dagster.household_model.wording import say, sentence


def critique(rng: Random, belief: Belief, verdict: Verdict) -> str:
    """Three sentences on the action: whether it is valid, what it does for the goal, what to make of it."""
    slots = _slots(rng, belief, verdict)
    words = WORDS[verdict.kind]
    outcome = "won" if verdict.won else "stuck" if verdict.stuck else "lost"
    texts = (words.opening, words.reason, CLOSINGS[verdict.grade, outcome])
    return " ".join(sentence(say(rng, text, slots)) for text in texts)


def judgement(
    rng: Random, belief: Belief, verdict: Verdict, chosen: bool = False, informed: bool = True
) -> str:
    """One clause on the action, without a full stop: for a line of a deliberation, or after a "because".

    Args:
        chosen: it is the action that the deliberation ends in: what nobody could know is not held against it.
        informed: there is a critique to draw on; without one, common sense says whether a search may succeed.
    """
    words = WORDS[verdict.kind].judgement
    if not informed and verdict.kind in SEARCHES:
        words = "{chance}"
    elif chosen and verdict.grade != "good":
        words = CHOSEN.get(verdict.kind, "it is [the way to go on|what brings me on] from here")
    return say(rng, words, _slots(rng, belief, verdict))


def _slots(rng: Random, belief: Belief, verdict: Verdict) -> dict[str, str]:
    slots = {
        "lead": say(rng, LEADS, {}),
        "a": verdict.action,
        "s": verdict.sought,
        "as": article(verdict.sought),
        "t": verdict.thing or verdict.sought,
        "p": verdict.place or belief.location or "this place",
        "verb": belief.goal.preparation or "handle",
    }
    slots["word"] = slots["p"].split()[0]
    slots["at"] = preposition(slots["p"]) if verdict.place else "in"
    slots["chance"] = say(rng, CHANCES[verdict.likely], slots)
    return slots
