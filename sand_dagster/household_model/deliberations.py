"""The teacher of deliberations (Eq. 6, Figure 6): a reflection, the judgements, a rationale."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from sand_dagster.environments.alfworld.domain import REFUSAL
from sand_dagster.environments.household.belief import Belief
from sand_dagster.environments.household.thoughts import article, goal_phrase, preposition
from sand_dagster.household_model.critiques import judgement
from sand_dagster.household_model.phrases import STANCES
from sand_dagster.household_model.verdicts import Verdict
from sand_dagster.household_model.wording import say, sentence

_RATIONALES = (
    "[Comparing these|Weighing these|Taken together|Among these], {e} is "
    "[the best choice|the most sensible step|what I should do], "
    "because {why}",
    "[So|Therefore|Hence] I [will|choose to|decide to] {e}, because {why}",
    "[The most useful step|The best step|The right step] [now|here] is to {e}: {why}",
)


def deliberation(
    rng: Random, belief: Belief, verdicts: Sequence[Verdict], chosen: str, informed: bool = True
) -> str:
    """The thought z̃: reflection, one line for each candidate in order, rationale that ends in `chosen`.

    `informed` says whether there are critiques to draw the judgements from.

    Raises:
        StopIteration: `chosen` is not the action of any verdict.
    """
    lines = "\n".join(_line(rng, belief, v, v.action == chosen, informed) for v in verdicts)
    best = next(verdict for verdict in verdicts if verdict.action == chosen)
    slots = {"e": chosen, "why": judgement(rng, belief, best, True, informed)}
    closing = sentence(say(rng, rng.choice(_RATIONALES), slots))
    return f"{reflection(rng, belief)}\n\n{lines}\n\n{closing}"


def _line(rng: Random, belief: Belief, verdict: Verdict, chosen: bool, informed: bool) -> str:
    stance = say(rng, STANCES["chosen" if chosen else verdict.grade], {})
    return f"- {verdict.action}: {judgement(rng, belief, verdict, chosen, informed)}; {stance}."


def reflection(rng: Random, belief: Belief) -> str:
    """One sentence on the previous action and where it has led."""
    return sentence(f"{_previous(rng, belief)}{_situation(rng, belief)}")


def _previous(rng: Random, belief: Belief) -> str:
    if not belief.steps:
        return rng.choice(
            ("I have not done anything yet, ", "This is my first step, ", "I am just beginning, ")
        )
    last = belief.steps[-1]
    if last.observation == REFUSAL:
        return rng.choice(("My last action did nothing, ", "That did not work, "))
    verb = last.action.partition(" ")[0]
    here = belief.location
    if verb == "take" and belief.holding:
        return rng.choice((f"I have just taken the {belief.holding}, ", f"Now I hold the {belief.holding}, "))
    if verb in ("clean", "heat", "cool") and belief.holding:
        return f"I have just used the {here} on the {belief.holding}, "
    if verb in ("put", "move"):
        return rng.choice((f"I have just put something down at the {here}, ", "My hand is free again, "))
    if here is None:
        return "I have looked around, "
    if belief.closed.get(here, False):
        return rng.choice((f"I am at the {here}, which is closed, ", f"The {here} is closed, "))
    missing = belief.goal.thing.lower()
    if belief.holding is None and any(belief.fits(t) for t in belief.contents.get(here, ())):
        return f"I see {article(missing)} {preposition(here)} the {here}, "
    if belief.holding is None:
        return rng.choice(
            (f"There is no {missing} {preposition(here)} the {here}, ", f"I have checked the {here}, ")
        )
    return f"I am at the {here} with the {belief.holding}, "


def _situation(rng: Random, belief: Belief) -> str:
    goal, held = belief.goal, belief.holding
    thing = goal.thing.lower()
    if held is None:
        known = belief.wanted()
        if known is None:
            return rng.choice(
                (f"and I still have to find {article(thing)}", f"so I am still looking for {article(thing)}")
            )
        return rng.choice((f"and I know where the {known[0]} is", f"and the {known[0]} is within reach"))
    if not belief.fits(held):
        return f"and the {held} is not what I need"
    if goal.looks:
        return "and I need the light of the desklamp"
    if not belief.prepared(held):
        return f"and I still have to {goal.preparation} it"
    return rng.choice(
        (f"and it has to go to the {goal.target.lower()}", f"so what is left is to {goal_phrase(goal)}")
    )
