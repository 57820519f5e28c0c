"""The teacher of deliberations (Eq. 6, Figure 6): a reflection, the judgements, a rationale."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from sand_dagster.environments.household.belief import Belief
from sand_dagster.environments.household.thoughts import remark
from sand_dagster.household_model.critiques import judgement, stance
from sand_dagster.household_model.phrases import STANCES
from sand_dagster.household_model.questions import whereabouts
from sand_dagster.household_model.verdicts import Verdict
from sand_dagster.household_model.wording import say, sentence

_LEADS = "[Comparing these|Weighing these|Taken together|Among these|All in all]"


def deliberation(
    rng: Random, belief: Belief, verdicts: Sequence[Verdict], chosen: str, informed: bool = True
) -> str:
    """The thought z̃: reflection, one line for each candidate in order, rationale that ends in `chosen`.

    `informed` says whether there are critiques to draw the judgements from.

    Raises:
        StopIteration: `chosen` is not the action of any verdict.
    """
    best = next(verdict for verdict in verdicts if verdict.action == chosen)
    lines = "\n".join(
        f"- {v.action}: {judgement(rng, belief, v, informed)}; {stance(rng, v, v is best, informed)}."
        for v in verdicts
    )
    choice = say(rng, f"{_LEADS}, {STANCES['chosen']}", {"a": chosen})
    return (
        f"{reflection(rng, belief)}\n\n{lines}\n\n{choice}, because {judgement(rng, belief, best, informed)}."
    )


def reflection(rng: Random, belief: Belief) -> str:
    """What the previous action has shown, and what the task needs now."""
    return " ".join(sentence(text) for text in (remark(belief, rng), _need(belief)) if text)


def _need(belief: Belief) -> str | None:
    """What is needed, before what is known of it; None where it is in sight, which the remark says."""
    goal, held = belief.goal, belief.holding
    if held is None:
        found = belief.wanted()
        return None if found and found[1] == belief.location else whereabouts(goal.thing, found)
    if not belief.fits(held):
        return f"I hold the {held}: not what I need"
    if goal.looks:
        return whereabouts(goal.target, belief.lamp())
    if not belief.prepared(held):
        return f"I hold the {held}: I still have to {goal.preparation} it"
    return f"I hold the {held}: it has to go to the {goal.target.lower()}"
