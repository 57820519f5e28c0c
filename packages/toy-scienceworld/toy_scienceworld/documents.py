"""The lessons in ScienceWorld: conversations of four kinds, each determined by (seed, index).

In acting, imperfect players play and never deliberate. Critiques and deliberations answer the prompts of
Figures 5 and 6 about played-out candidates. Questions are about an unfinished task, or about the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from sand_dagster.environments.scienceworld.domain import ScienceWorldDomain
from sand_dagster.prompts.figures import alternatives_prompt, critique_prompt, deliberation_prompt
from sand_dagster.prompts.turns import conversation, render_history, render_rollout
from sand_dagster.types import Message, Step
from toy_scienceworld.lab import Lab, Rooms, make_lab
from toy_scienceworld.player import Belief, Player, best, mistake, play
from toy_scienceworld.teachers import Verdict, critique, deliberation, judge, question

Kind = Literal["acting", "critique", "deliberation", "questions"]

SHARES: dict[Kind, float] = {"acting": 0.25, "critique": 0.2, "deliberation": 0.3, "questions": 0.25}
"""How often each kind of document is drawn after the lessons."""

LESSONS = 2000
"""The first so many documents are questions, since looking something up is learnt fastest if the conversation
is short."""

STEP_LIMIT = 12
_MOST_CANDIDATES = 5
_MOST_QUESTIONS = 12
_DELIBERATES = 0.4
_SKILLS = (0.35, 0.75)
_DOMAIN = ScienceWorldDomain()


@dataclass(frozen=True, slots=True)
class Document:
    """See `toy_alfworld.model.teachers.documents.Document`."""

    kind: Kind
    messages: Sequence[Message]
    context: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """A step at which candidates are compared, and the result of each."""

    lab: Lab
    history: Sequence[Step]
    belief: Belief
    chosen: str
    verdicts: Sequence[Verdict]


@dataclass(frozen=True)
class Teacher:
    """Draws documents about tasks in `worlds`."""

    worlds: Sequence[Rooms]

    def __call__(self, seed: int | str, index: int, kind: Kind | None = None) -> Document:
        """The document at `index` of the stream `seed`."""
        rng = Random(f"scienceworld document {seed} {index}")
        lesson = kind is None and index < LESSONS
        drawn = kind or ("questions" if lesson else rng.choices(list(SHARES), list(SHARES.values()))[0])
        lab = make_lab(rng, self.worlds)
        task = lab.goal.description()
        if drawn == "acting":
            steps = list(play(rng, lab, Player(lab.goal, rng.uniform(*_SKILLS)), STEP_LIMIT))
            return Document(drawn, conversation(_DOMAIN, task, steps)[:-1])
        situation = draw(rng, lab)
        history = render_history(situation.history)
        if drawn == "questions":
            return _questions(rng, task, situation)
        if drawn == "critique":
            verdict = rng.choice(situation.verdicts)
            rollout = render_rollout(verdict.rollout, verdict.reward)
            asked = critique_prompt(task, history, verdict.action, rollout)
            return Document(drawn, _pair(asked, f"Action Evaluation: {critique(rng, verdict)}"))
        source = rng.choices(("critiques", "actions", "nothing"), (0.6, 0.2, 0.2))[0]
        if source == "nothing":
            asked = alternatives_prompt(task, history, len(situation.verdicts) - 1, situation.chosen)
        else:
            notes = [
                (v.action, critique(rng, v) if source == "critiques" else "") for v in situation.verdicts
            ]
            asked = deliberation_prompt(task, history, notes, situation.chosen)
        thought = deliberation(rng, situation.belief, situation.verdicts, situation.chosen)
        return Document(drawn, _pair(asked, f"Thought: {thought}"))


def draw(rng: Random, lab: Lab) -> Situation:
    """A step of a played task, with two to five candidates: the sensible action and others."""
    player = Player(lab.goal, 1.0 if rng.random() < 0.5 else rng.uniform(0.4, 0.9))
    stop, deliberates = rng.randint(0, 7), rng.random() < _DELIBERATES
    history: list[Step] = []
    for _ in range(stop):
        before, belief = lab.fork(), player.belief.copy()
        step = next(play(rng, lab, player, 1))
        if lab.done:  # the last step is where something is decided
            lab, player.belief = before, belief
            break
        if deliberates and rng.random() < 0.5:
            others = _candidates(rng, belief, step.action, rng.randint(2, 4))
            said = [judge(belief, action, _refused(before, action)) for action in others]
            step = Step(deliberation(rng, belief, said, step.action), step.action, step.observation)
        history.append(step)
    chosen = best(rng, player.belief)
    actions = _candidates(rng, player.belief, chosen, rng.randint(2, _MOST_CANDIDATES))
    verdicts = [_verdict(rng, lab, player, action) for action in actions]
    return Situation(lab, history, player.belief, chosen, verdicts)


def _candidates(rng: Random, belief: Belief, chosen: str, count: int) -> list[str]:
    """Distinct actions, among them `chosen`, sorted by their text."""
    found = {chosen}
    for _ in range(20):
        if len(found) >= count:
            break
        found.add(best(rng, belief) if rng.random() < 0.25 else mistake(rng, belief))
    return sorted(found)


def _refused(lab: Lab, action: str) -> bool:
    return not lab.fork().step(action).valid


def _verdict(rng: Random, lab: Lab, player: Player, action: str) -> Verdict:
    """Execute `action` in a copy, let a player of some skill continue, and judge the result."""
    world, other = lab.fork(), Player(lab.goal, rng.choice((1.0, 0.9, 0.7, 0.4)))
    other.belief = player.belief.copy()
    result = world.step(action)
    other.belief.observe(action, result.observation)
    steps = [
        Step("", action, result.observation),
        *play(rng, world, other, rng.randint(2, STEP_LIMIT), thinks=False),
    ]
    return judge(player.belief, action, not result.valid, steps, world.reward)


def _questions(rng: Random, task: str, situation: Situation) -> Document:
    messages = conversation(_DOMAIN, task, situation.history)
    for number in range(rng.randint(4, _MOST_QUESTIONS)):
        asked, answer = question(rng, situation.belief, situation.verdicts)
        if number == 0:
            messages[-1] = {"role": "user", "content": f"{messages[-1]['content']}\n\nQuestion: {asked}"}
        else:
            messages.append({"role": "user", "content": f"Question: {asked}"})
        messages.append({"role": "assistant", "content": f"Answer: {answer}"})
    return Document("questions", messages, context=2 * len(situation.history))


def _pair(asked: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
