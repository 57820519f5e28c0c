"""The teacher of deliberations (Eq. 6, Figure 6): a reflection, the judgements, a rationale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from toy_alfworld.games.belief import Belief, type_of
from toy_alfworld.games.thoughts import STATES, goal_phrase
from toy_alfworld.model.teachers.critiques import judgement, need, needed, stance
from toy_alfworld.model.teachers.phrases import STANCES
from toy_alfworld.model.teachers.questions import whereabouts
from toy_alfworld.model.teachers.verdicts import Verdict, known
from toy_alfworld.model.teachers.wording import say, sentence

_LEADS = "[Comparing these|Weighing these|Taken together|Among these|All in all]"


def deliberation(
    rng: Random, belief: Belief, verdicts: Sequence[Verdict], chosen: str, informed: bool = True
) -> str:
    """The thought z̃: reflection, one line for each candidate in order, rationale that ends in `chosen`.

    `informed` says whether the judgements are based on critiques.

    Raises:
        StopIteration: `chosen` is not the action of any verdict.
    """
    best = next(verdict for verdict in verdicts if verdict.action == chosen)
    lines = "\n".join(
        f"- {v.action}: {judgement(rng, belief, v, informed)}; {stance(rng, v, v is best, informed)}."
        for v in verdicts
    )
    choice = conclusion(rng, chosen)
    return f"{reflection(belief)}\n\n{lines}\n\n{choice}, because {judgement(rng, belief, best, informed)}."


def conclusion(rng: Random, chosen: str) -> str:
    """The rationale's beginning, which names the action in the words that the list has for it."""
    return say(rng, f"{_LEADS}, {STANCES['chosen']}", {"a": chosen})


def reflection(belief: Belief) -> str:
    """The player's place, what it needs, and where that is or may be: the basis of the judgements."""
    here = belief.location
    place = f"I am at the {here}" if here else "I am in the middle of the room"
    if here is not None and belief.closed.get(here, False):
        place += ", and it is closed"
    refused = "Nothing happened" if belief.refused else ""
    task = f"I need to {goal_phrase(belief.goal)}"
    return " ".join(sentence(text) for text in (refused, place, task, *_needed(belief)) if text)


def _needed(belief: Belief) -> Iterator[str]:
    goal, held = belief.goal, belief.holding
    end = None if goal.looks else belief.end()
    for thing in belief.delivered(end) if end else ():
        yield f"The {thing} is done"
    if held is not None:
        state = STATES.get(goal.preparation or "") if belief.fits(held) and belief.prepared(held) else None
        yield f"I hold the {held}" + (f", and it is {state}" if state else "")
        if not belief.fits(held):
            yield "It is not what I need"
        elif not goal.looks:
            at_one = belief.location is not None and type_of(belief.location) == needed(belief)
            yield f"{need(belief)}, and I am at {'one' if at_one else 'none'}"
            return
    sought = goal.target if held is not None and belief.fits(held) else goal.thing
    found = known(belief)
    yield whereabouts(sought, found) + (", here" if found and found[1] == belief.location else "")
    if found is None:
        yield from _search(belief, sought)


def _search(belief: Belief, sought: str) -> Iterator[str]:
    """Where an object that was not seen yet may be: the places left, in the room's order, and the most likely
    one."""
    here = belief.location
    if here is not None and here not in belief.contents and belief.closed.get(here, False):
        yield "It may be in here"
    elif left := [place for place in belief.unexplored() if place != here]:
        yield f"Left to search: the {', the '.join(left)}"
        yield f"Most likely: the {max(left, key=lambda place: belief.promise(place, sought))}"
    else:
        yield "All is searched"
