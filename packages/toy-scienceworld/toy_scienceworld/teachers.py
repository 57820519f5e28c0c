"""The teachers of judgements: critiques (Eq. 5, Figure 5), deliberations (Eq. 6, Figure 6), and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from sand_dagster.environments.scienceworld.domain import REFUSAL
from sand_dagster.types import Step
from toy_alfworld.games.thoughts import article
from toy_alfworld.model.teachers.deliberations import conclusion
from toy_alfworld.model.teachers.phrases import STANCES
from toy_alfworld.model.teachers.wording import say, sentence
from toy_scienceworld.knowledge import BORN, LIFESPANS, LONG, MEDIUM, ROOMS, SHORT, Thing, called
from toy_scienceworld.lab import FITS
from toy_scienceworld.player import Belief

Grade = Literal["good", "fair", "poor"]

_LIVES = {SHORT: "lives short", MEDIUM: "lives longer", LONG: "lives longest"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A candidate with its rollout, and what the history and common sense say of it.

    `fact` is a clause without a full stop.
    """

    action: str
    grade: Grade
    fact: str
    rollout: Sequence[Step] = ()
    reward: float = 0.0

    @property
    def refused(self) -> bool:
        return bool(self.rollout) and self.rollout[0].observation == REFUSAL


def judge(
    belief: Belief, action: str, refused: bool, rollout: Sequence[Step] = (), reward: float = 0.0
) -> Verdict:
    """What is to say of `action` at this point of the history."""
    grade, fact = _fact(belief, action, refused)
    if refused and grade != "poor":
        grade, fact = "poor", "that is not possible here"
    return Verdict(action, grade, fact, rollout, reward)


def _fact(belief: Belief, action: str, refused: bool) -> tuple[Grade, str]:
    verb, _, rest = action.partition(" ")
    if action in belief.refused:
        return "poor", "it was tried just now, and nothing came of it"
    if verb == "teleport":
        return _teleport(belief, rest.removeprefix("to "))
    if action == "look around":
        if belief.looked:
            return "poor", f"I have looked around in the {belief.room} already"
        if belief.room in (None, belief.destination()):
            return ("fair" if belief.room is None else "good"), "I have not looked around here yet"
        return "poor", whereto(belief)
    if verb == "focus":
        return _focus(belief, rest.removeprefix("on "))
    if verb == "pick":
        return _pick(belief, rest.removeprefix("up "))
    if verb == "move" and " to " in rest:
        moved, _, place = rest.rpartition(" to ")
        return _move(belief, moved, place)
    return "poor", "that is not possible here" if refused else "it brings nothing new"


def _teleport(belief: Belief, room: str) -> tuple[Grade, str]:
    if room not in ROOMS:
        return "poor", f"there is no {room}"
    if room == belief.room:
        return "poor", f"the {room} is where I am"
    if room == belief.destination() and not (belief.goal.lifespan and belief.room == room):
        return "good", whereto(belief)
    return "poor", whereto(belief)


def whereto(belief: Belief) -> str:
    """A clause on where the player has to be now, and why."""
    goal, there = belief.goal, belief.destination()
    if goal.lifespan:
        return "the animals are outside"
    if there == belief.room:
        return f"what I need is here in the {there}"
    if belief.focused:
        return f"the {goal.box} is in the {goal.place}"
    kind = {"plant": "plants are in the greenhouse", "non-living thing": f"things are in the {there}"}
    return kind.get(goal.aim, "animals are outside")


def _focus(belief: Belief, phrase: str) -> tuple[Grade, str]:
    goal = belief.goal
    found = called(phrase, belief.near())
    if len(found) != 1:
        if not found and not belief.looked:
            return "poor", "I have not looked around here yet"
        return "poor", f"no {phrase} is here" if not found else f"there is more than one {phrase}"
    thing = found[0]
    if goal.lifespan:
        if thing.name not in LIFESPANS:
            return "poor", f"the {thing.name} is no animal"
        wanted = goal.wanted(belief.animals())
        left = wanted[len(belief.focused) :]
        which = "longest" if left and left[0] == belief.animals()[-1] else "shortest"
        if left and left[0] == thing.name:
            return "good", f"of these the {thing.name} lives {which}"
        return "poor", f"it is the {left[0] if left else wanted[-1]} that lives {which}, not the {thing.name}"
    if belief.focused:
        return "poor", f"I have focused on the {belief.focused[0].name} already"
    if not thing.movable:
        return "poor", f"the {thing.name} cannot be moved"
    return ("good" if goal.fits(thing) else "poor"), kind(goal.aim, thing)


def kind(aim: str, thing: Thing) -> str:
    """A clause that says whether `thing` is what a find task asks for."""
    fits = thing.nature in FITS[aim]
    return f"the {thing.name} is {article(aim) if fits else f'no {aim}'}"


def _pick(belief: Belief, phrase: str) -> tuple[Grade, str]:
    found = called(phrase, belief.near())
    if belief.goal.lifespan:
        return "poor", "nothing has to be carried"
    if not found:
        return "poor", f"no {phrase} is here"
    if not belief.focused:
        return "poor", "first I have to focus on something"
    if not belief.is_it(found[0]):
        return "poor", f"I have focused on the {belief.focused[0].name}, not on the {found[0].name}"
    if belief.carried():
        return "poor", f"I hold the {found[0].name} already"
    if belief.goal.place == belief.room:
        return "fair", f"the {belief.goal.box} is here, so it need not be carried"
    return "good", f"the {found[0].name} has to come with me to the {belief.goal.place}"


def _move(belief: Belief, phrase: str, place: str) -> tuple[Grade, str]:
    goal = belief.goal
    if goal.lifespan:
        return "poor", "nothing has to be moved"
    if not belief.focused:
        return "poor", "first I have to focus on something"
    if goal.box not in place:
        return "poor", f"it has to go to the {goal.box}"
    if belief.room != goal.place:
        return "poor", f"the {goal.box} is in the {goal.place}, not here"
    found = called(phrase, belief.near())
    if not any(belief.is_it(thing) for thing in found):
        return "poor", f"I have focused on the {belief.focused[0].name}"
    return "good", f"the {belief.focused[0].name} has to go to the {goal.box}, which is here"


def critique(rng: Random, verdict: Verdict) -> str:
    """Three sentences on the action: whether it is valid, its effect on the goal, and a judgement."""
    lead = "[The action|The step|Here|Now|At this point]"
    valid = "is not valid here" if verdict.refused else "is valid"
    won, ended = verdict.reward > 0.99, len(verdict.rollout) == 1 and not verdict.refused
    if verdict.grade == "good":
        outcome = (
            "[the task can be completed this way|it leads on to the goal]"
            if won
            else ("[it is real progress|it serves the goal], though [more is to be done|mistakes may follow]")
        )
        end = "[a strong choice|the right choice|a good step] is to {a}"
    elif verdict.grade == "fair":
        outcome = "[the task can still be completed|it is not needed]" if won else "[it only costs a step]"
        end = "it is [acceptable|a weak choice] to {a}"
    else:
        outcome = (
            "[it only costs a step|the task can still be completed after it]"
            if won
            else "[the task ends without success|the task is lost]"
            if ended and verdict.action.startswith("focus")
            else "[it wastes a step|it does not serve the goal]"
        )
        end = "it is [a poor choice|a mistake|better not] to {a}"
    texts = (
        f"{lead} {{a}} {valid}, [because|since] {{fact}}",
        outcome,
        f"[Overall|In practice|All in all], {end}",
    )
    slots = {"a": verdict.action, "fact": verdict.fact}
    return " ".join(sentence(say(rng, text, slots)) for text in texts)


def deliberation(rng: Random, belief: Belief, verdicts: Sequence[Verdict], chosen: str) -> str:
    """The thought z̃: reflection, one line for each candidate in order, rationale that ends in `chosen`.

    Raises:
        StopIteration: `chosen` is not the action of any verdict.
    """
    best = next(verdict for verdict in verdicts if verdict.action == chosen)
    lines = "\n".join(
        f"- {v.action}: {v.fact}; {say(rng, STANCES['chosen' if v is best else v.grade], {'a': v.action})}."
        for v in verdicts
    )
    return f"{reflection(belief)}\n\n{lines}\n\n{conclusion(rng, chosen)}, because {best.fact}."


def reflection(belief: Belief) -> str:
    """Where the player is, what it has done, and what follows: the basis of the judgements."""
    goal, room = belief.goal, belief.room
    said = ["Nothing came of it"] if belief.refused else []
    said.append(f"I am in the {room}" if room else "I do not know where I am")
    if goal.lifespan:
        said.append(f"I need the {'longest, then the shortest' if goal.aim == 'both' else goal.aim} life")
    else:
        said.append(f"I need {article(goal.aim)} for the {goal.box} in the {goal.place}")
    if belief.focused:
        said.append(f"I have focused on the {belief.focused[0].name}")
    if held := belief.carried():
        said.append(f"I hold the {held.name}")
    if room != belief.destination():
        said.append(f"{whereto(belief)}, and I am not there")
    elif not belief.looked:
        said.append("I have not looked around here yet")
    elif goal.lifespan:
        said += [f"The {name} {_LIVES[LIFESPANS[name]]}" for name in belief.animals()]
    elif not belief.focused:
        fitting = list(dict.fromkeys(kind(goal.aim, t) for t in belief.near() if goal.fits(t)))
        said += fitting[:3]
    elif room == goal.place:
        said.append(f"The {goal.box} is here")
    else:
        said.append("It has to come with me")
    return " ".join(sentence(text) for text in said)


def question(rng: Random, belief: Belief, verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """A question about the task so far, or about the world, and its answer."""
    asked = rng.choices(("judge", "lives", "longest", "kind", "here", "where", "box"), (4, 1, 2, 2, 2, 1, 1))[
        0
    ]
    if asked == "judge":
        v = rng.choice(verdicts)
        worth = say(rng, STANCES[v.grade], {})
        return f"What do you think of this: {v.action}?", f"{v.action}: {v.fact}; {worth}."
    if asked == "lives":
        name = rng.choice(sorted(LIFESPANS))
        return f"How long does {article(name)} live?", f"The {name} {_LIVES[LIFESPANS[name]]}."
    if asked == "longest":
        names = (
            belief.animals()
            if len(belief.animals()) == 3 and rng.random() < 0.5
            else [rng.choice([n for n, lived in LIFESPANS.items() if lived == span]) for span in range(3)]
        )
        which = rng.choice(("longest", "shortest"))
        answer = (
            max(names, key=lambda n: LIFESPANS[n])
            if which == "longest"
            else min(names, key=lambda n: LIFESPANS[n])
        )
        shuffled = rng.sample(names, len(names))
        return f"Which lives {which}: {', '.join(map(article, shuffled))}?", f"The {answer} lives {which}."
    if asked == "kind":
        near = belief.near() or [Thing(name := rng.choice(sorted(BORN)), "animal", BORN[name])]
        thing, aim = rng.choice(near), rng.choice(("animal", "plant", "living thing", "non-living thing"))
        return f"Is the {thing.name} {article(aim)}?", sentence(kind(aim, thing))
    if asked == "here":
        thing = (
            rng.choice(belief.near())
            if belief.near() and rng.random() < 0.6
            else Thing(rng.choice(sorted(BORN)))
        )
        there = any(t.name == thing.name for t in belief.near())
        return (
            f"Is there {article(thing.name)} here?",
            f"The {thing.name}: {'here' if there else 'not here'}.",
        )
    if asked == "where" or belief.goal.lifespan:
        return "Where are you?", f"I am in the {belief.room}." if belief.room else "I do not know."
    return f"Where is the {belief.goal.box}?", f"The {belief.goal.box} is in the {belief.goal.place}."
