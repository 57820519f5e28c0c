"""The base model's training data: conversations of five kinds, each determined by (seed, index).

In acting, imperfect players play and never deliberate. Critiques and deliberations answer the prompts of
Figures 5 and 6 about real rollouts: candidates at a step of a real game, played to the end by imperfect
players. Questions are about an unfinished game: what was seen where, and whether an action would work.
Advice compares actions for a user who reports a game, outside the agent's own conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Literal

from sand_dagster.prompts.figures import alternatives_prompt, critique_prompt, deliberation_prompt
from sand_dagster.prompts.turns import conversation, render_history, render_rollout
from sand_dagster.types import Message, Step
from toy_alfworld.games.expert import Expert
from toy_alfworld.games.game import Game
from toy_alfworld.games.generation import STEP_LIMIT, make_game
from toy_alfworld.games.intents import best
from toy_alfworld.games.rooms import Split
from toy_alfworld.games.simulation import Simulation
from toy_alfworld.model.teachers.critiques import critique
from toy_alfworld.model.teachers.deliberations import deliberation
from toy_alfworld.model.teachers.questions import question
from toy_alfworld.model.teachers.situations import (
    DOMAIN,
    LATEST,
    MOST_CANDIDATES,
    Situation,
    beginning,
    draw_situation,
    follow,
    play_on,
    sampled,
    verdict_at_once,
)

Kind = Literal["acting", "critique", "deliberation", "questions", "advice"]

Source = Literal["critiques", "actions", "nothing"]
"""The input of a deliberation: critiques (Figure 6) or, as in Table 3, only actions, or not even actions."""

SHARES: dict[Kind, float] = {
    "acting": 0.18,
    "critique": 0.24,
    "deliberation": 0.2,
    "questions": 0.2,
    "advice": 0.18,
}
"""How often each kind of document is drawn after the lessons."""

LESSONS = 6000
"""The first so many documents are questions about the beginnings of games. Looking something up in a
conversation is learnt fastest if the conversation is short, and everything else needs this skill."""

_SKILLS = (0.3, 0.7)
_SOURCES: dict[Source, float] = {"critiques": 0.4, "actions": 0.25, "nothing": 0.35}
_MOST_QUESTIONS, _MOST_ADVICE = 10, 8
_ASKED_TO_COMPARE = 0.4
_ADVISE = "What could be done now, and what is best?"
_EARLY, _LESSON = 5, 20
"""Most steps before the questions of a lesson, and how many questions those are."""


@dataclass(frozen=True, slots=True)
class Document:
    """One training conversation; the assistant's messages after the first `context` messages are trained
    on."""

    kind: Kind
    game: Game
    messages: Sequence[Message]
    context: int = 0


def document(seed: int | str, index: int, split: Split = "train", kind: Kind | None = None) -> Document:
    """The document at `index` of the stream `seed`. Evaluation uses other seeds, or held-out rooms."""
    rng = Random(f"household document {seed} {index}")
    lesson = kind is None and index < LESSONS
    drawn = kind or ("questions" if lesson else rng.choices(list(SHARES), list(SHARES.values()))[0])
    game = make_game(f"household model {seed} {index}", split)
    if drawn == "acting":
        return Document(drawn, game, acting(rng, game))
    if drawn == "questions":
        situation = draw_situation(rng, game, MOST_CANDIDATES, 0, _EARLY if lesson else LATEST)
        messages = question_messages(rng, situation, _LESSON if lesson else rng.randint(1, _MOST_QUESTIONS))
        return Document(drawn, game, messages, context=2 * len(situation.history))
    if drawn == "advice":
        return Document(drawn, game, advice_messages(rng, game))
    if drawn == "critique":
        situation = draw_situation(rng, game, 1)
        messages = critique_messages(rng, situation, rng.randrange(len(situation.verdicts)))
        return Document(drawn, game, messages)
    source = rng.choices(list(_SOURCES), list(_SOURCES.values()))[0]
    situation = draw_situation(rng, game, MOST_CANDIDATES)
    return Document(drawn, game, deliberation_messages(rng, situation, source))


def acting(rng: Random, game: Game) -> list[Message]:
    """A whole game, or its beginning, by a player of some skill: Figure 7's conversation."""
    limit = rng.choice((8, 14, STEP_LIMIT, STEP_LIMIT))
    simulation = Simulation(game)
    player = Expert(simulation.instruction, rng.random().hex(), rng.uniform(*_SKILLS))
    steps, _ = play_on(simulation, player, limit, after_refusal=1.0)
    messages = conversation(DOMAIN, simulation.instruction, steps)
    return messages[:-1]


def critique_messages(rng: Random, situation: Situation, index: int) -> list[Message]:
    """Figure 5's prompt on one candidate of a situation, and its critique."""
    verdict = situation.verdicts[index]
    prompt = critique_prompt(
        situation.instruction,
        render_history(situation.history),
        verdict.action,
        render_rollout(*situation.rollouts[index]),
    )
    text = critique(rng, situation.player.belief, verdict)
    return [_user(prompt), _assistant(f"Action Evaluation: {text}")]


def deliberation_messages(rng: Random, situation: Situation, source: Source = "critiques") -> list[Message]:
    """Figure 6's prompt on all candidates of a situation, and the deliberation that ends in the expert's."""
    belief, verdicts = situation.player.belief, situation.verdicts
    before = situation.instruction, render_history(situation.history)
    if source == "nothing":
        prompt = alternatives_prompt(*before, len(verdicts) - 1, situation.expert_action)
    else:
        notes = [(v.action, critique(rng, belief, v) if source == "critiques" else "") for v in verdicts]
        prompt = deliberation_prompt(*before, notes, situation.expert_action)
    thought = deliberation(rng, belief, verdicts, situation.expert_action, source == "critiques")
    return [_user(prompt), _assistant(f"Thought: {thought}")]


def question_messages(rng: Random, situation: Situation, count: int) -> list[Message]:
    """The agent's conversation up to a step, followed by `count` questions with their answers."""
    messages = conversation(DOMAIN, situation.instruction, situation.history)
    for number in range(count):
        asked, answer = question(rng, situation.player.belief, situation.verdicts)
        if number == 0:
            messages[-1] = _user(f"{messages[-1]['content']}\n\nQuestion: {asked}")
        else:
            messages.append(_user(f"Question: {asked}"))
        messages.append(_assistant(f"Answer: {answer}"))
    return messages


def advice_messages(rng: Random, game: Game) -> list[Message]:
    """A user reports a game step by step, and sometimes asks what can be done and what is best."""
    simulation = Simulation(game)
    history, seed = beginning(rng, simulation, LATEST)
    player = Expert(simulation.instruction, seed)
    stops = sorted(rng.sample(range(len(history) + 1), min(rng.randint(1, _MOST_ADVICE), len(history) + 1)))
    messages: list[Message] = []
    for before, stop in pairwise((0, *stops)):
        follow(simulation, player, history[before:stop])
        chosen = best(player.belief).action
        actions = sampled(rng, player, simulation.instruction, chosen, rng.randint(2, MOST_CANDIDATES))
        verdicts = [verdict_at_once(simulation, player, action) for action in actions]
        asked = f"Compare these: {'; '.join(actions)}." if rng.random() < _ASKED_TO_COMPARE else _ADVISE
        report = render_history(history[before:stop])
        report = report if messages else f"{simulation.instruction}\n\n{report}"
        thought = deliberation(rng, player.belief, verdicts, chosen, informed=False)
        messages += [_user(f"{report}\n\nQuestion: {asked}"), _assistant(f"Thought: {thought}")]
    return messages


def advice_asked(instruction: str, history: Sequence[Step]) -> list[Message]:
    """The question what is best now, from a user who has reported the game so far."""
    return [_user(f"{instruction}\n\n{render_history(history)}\n\nQuestion: {_ADVISE}")]


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
