"""The teacher of critiques (Eq. 5, Figure 5) and of the judgements that deliberations take from them."""

from __future__ import annotations

from random import Random

from toy_alfworld.games.belief import Belief
from toy_alfworld.games.thoughts import article, preposition
from toy_alfworld.model.teachers.phrases import CHANCES, CLOSINGS, LEADS, PLACES, STANCES, WORDS
from toy_alfworld.model.teachers.verdicts import SEARCHES, Grade, Likelihood, Verdict, known
from toy_alfworld.model.teachers.wording import say, sentence


def critique(rng: Random, belief: Belief, verdict: Verdict) -> str:
    """Three sentences on the action: whether it is valid, its effect on the goal, and a judgement."""
    slots = _slots(rng, belief, verdict)
    words = WORDS[verdict.kind]
    outcome = "won" if verdict.won else "stuck" if verdict.stuck else "lost"
    texts = (words.opening, words.reason, CLOSINGS[verdict.grade, outcome])
    return " ".join(sentence(say(rng, text, slots)) for text in texts)


def judgement(rng: Random, belief: Belief, verdict: Verdict, informed: bool = True) -> str:
    """One clause on the action, without a full stop: first the fact, then the conclusion.

    Args:
        informed: whether there is a critique; without one, only common sense says what a search may find.
    """
    slots = _slots(rng, belief, verdict)
    slots["place"] = say(rng, PLACES[_promise(verdict, informed)], slots)
    return say(rng, WORDS[verdict.kind].judgement, slots)


def stance(rng: Random, verdict: Verdict, chosen: bool = False, informed: bool = True) -> str:
    """The conclusion of a judgement; `chosen` says that the deliberation ends in this action."""
    grade: Grade = verdict.grade
    if verdict.kind in SEARCHES:
        grade = "good" if _promise(verdict, informed) == "likely" else "fair"
    return say(rng, STANCES["chosen" if chosen else grade], {"a": verdict.action})


def _promise(verdict: Verdict, informed: bool) -> Likelihood:
    """How likely a place is: the rollout's result counts more than common sense."""
    if not informed:
        return verdict.likely
    if verdict.grade == "good":
        return "likely"
    return "possible" if verdict.likely == "likely" else verdict.likely


def _slots(rng: Random, belief: Belief, verdict: Verdict) -> dict[str, str]:
    slots = {
        "lead": say(rng, LEADS, {}),
        "a": verdict.action,
        "s": verdict.sought,
        "as": article(verdict.sought),
        "t": verdict.thing or verdict.sought,
        "p": verdict.place or belief.location or "this place",
        "h": belief.holding or "another object",
        "verb": belief.goal.preparation or "handle",
        "afar": f"not {belief.location}, where I am" if belief.location else "not where I am",
        "needs": need(belief),
    }
    slots["name"] = verdict.thing or verdict.place or "this"
    slots["known"] = (known(belief) or ("", "another place"))[1]
    slots["last_seen"] = _last_seen(belief, slots["t"], slots["p"])
    slots["word"] = slots["p"].split()[0]
    slots["at"] = preposition(slots["p"]) if verdict.place else "in"
    slots["chance"] = say(rng, CHANCES[verdict.likely], slots)
    return slots


def need(belief: Belief) -> str:
    """The kind of receptacle that the task's object has to go to now."""
    thing, kind = belief.goal.thing.lower(), needed(belief)
    if _raw(belief):
        return f"to {belief.goal.preparation} the {thing} takes {article(kind.lower())}"
    return f"the {thing} has to go to {article(kind.lower())}"


def needed(belief: Belief) -> str:
    """The type of that receptacle."""
    verb = belief.goal.preparation
    return belief.appliances[verb] if verb is not None and _raw(belief) else belief.goal.target


def _raw(belief: Belief) -> bool:
    """Whether the object, in hand or not yet found, still has to be cleaned, heated or cooled."""
    held = belief.holding
    return belief.goal.preparation is not None and not (
        held is not None and belief.fits(held) and belief.prepared(held)
    )


def _last_seen(belief: Belief, thing: str, place: str) -> str:
    """A clause on the last known place of an object that is not at `place`."""
    found = next((where for where, things in belief.contents.items() if thing in things), None)
    return f"{thing} is at {found}, not at {place}" if found else f"{thing} is not seen yet"
