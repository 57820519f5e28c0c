"""The base model's training data: conversations of five kinds, each determined by (seed, index) alone.

Acting is played by imperfect players and never deliberates. Critiques and deliberations answer the prompts of
Figures 5 and 6 about real rollouts: candidates at a step of a real game, played out by imperfect players.
Questions are about a game so far, in the midst of it: what was seen where, and whether an action would work.
Advice compares actions for somebody who tells of a game, outside the agent's own conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Literal

from alfworld_compiled.episode import REFUSAL
from sand_dagster.environments.alfworld.domain import AlfworldDomain
from sand_dagster.prompts.figures import alternatives_prompt, critique_prompt, deliberation_prompt
from sand_dagster.prompts.turns import conversation, render_history, render_rollout
from sand_dagster.types import Message, Step
from toy_alfworld.games.expert import Expert
from toy_alfworld.games.game import Game
from toy_alfworld.games.generation import STEP_LIMIT, make_game
from toy_alfworld.games.intents import best, go
from toy_alfworld.games.mistakes import make_mistake
from toy_alfworld.games.rooms import Split
from toy_alfworld.games.simulation import Simulation
from toy_alfworld.model.critiques import critique
from toy_alfworld.model.deliberations import deliberation
from toy_alfworld.model.questions import question
from toy_alfworld.model.verdicts import Verdict, judge

Kind = Literal["acting", "critique", "deliberation", "questions", "advice"]

Source = Literal["critiques", "actions", "nothing"]
"""What a deliberation is given: critiques (Figure 6), or, as in Table 3, bare actions or not even those."""

SHARES: dict[Kind, float] = {
    "acting": 0.18,
    "critique": 0.24,
    "deliberation": 0.2,
    "questions": 0.2,
    "advice": 0.18,
}
"""How often each kind of document is drawn after the lessons."""

LESSONS = 6000
"""So many documents come first that are questions on the beginnings of games: to find in a conversation what
it holds is learnt fastest where it is short, and all else is built on that."""

DOMAIN = AlfworldDomain()

MOST_CANDIDATES = 5
"""The most candidates of a situation: a policy's N samples."""
_SKILLS = (0.3, 0.7)
_EXPERT_HISTORY = 0.5
_STUBBORN, _MOST_REPEATS = 0.3, 4
_DELIBERATED = 0.3
_DELIBERATED_STEP = 0.5
_REFUSED = 0.4
_BY_A_PLAYER, _ANYTHING = 0.75, 0.1
_TRIES = 40
_SOURCES: dict[Source, float] = {"critiques": 0.4, "actions": 0.25, "nothing": 0.35}
_MOST_QUESTIONS, _MOST_ADVICE = 10, 8
_LATEST = STEP_LIMIT - 2
_ASKED_TO_COMPARE = 0.4
_ADVISE = "What could be done now, and what is best?"
_EARLY, _LESSON = 5, 20
"""Most steps before the questions of a lesson, and how many questions those are."""


@dataclass(frozen=True, slots=True)
class Document:
    """One training conversation; its assistant's messages after the first `context` are what is taught."""

    kind: Kind
    game: Game
    messages: Sequence[Message]
    context: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """A step of a game at which candidates are weighed: what the expert would do, and what came of each."""

    instruction: str
    history: Sequence[Step]
    player: Expert
    expert_action: str
    verdicts: Sequence[Verdict]
    rollouts: Sequence[tuple[Sequence[Step], float]]


def document(seed: int | str, index: int, split: Split = "train", kind: Kind | None = None) -> Document:
    """The document at `index` of the stream `seed`. Evaluation takes other seeds, or held-out rooms."""
    rng = Random(f"household document {seed} {index}")
    lesson = kind is None and index < LESSONS
    drawn = kind or ("questions" if lesson else rng.choices(list(SHARES), list(SHARES.values()))[0])
    game = make_game(f"household model {seed} {index}", split)
    if drawn == "acting":
        return Document(drawn, game, acting(rng, game))
    if drawn == "questions":
        situation = draw_situation(rng, game, MOST_CANDIDATES, 0, _EARLY if lesson else _LATEST)
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
    steps, _ = _play(simulation, player, limit, after_refusal=1.0)
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
    told = situation.instruction, render_history(situation.history)
    if source == "nothing":
        prompt = alternatives_prompt(*told, len(verdicts) - 1, situation.expert_action)
    else:
        notes = [(v.action, critique(rng, belief, v) if source == "critiques" else "") for v in verdicts]
        prompt = deliberation_prompt(*told, notes, situation.expert_action)
    thought = deliberation(rng, belief, verdicts, situation.expert_action, source == "critiques")
    return [_user(prompt), _assistant(f"Thought: {thought}")]


def question_messages(rng: Random, situation: Situation, count: int) -> list[Message]:
    """The agent's conversation up to a step, and there `count` questions with their answers."""
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
    """Somebody tells of a game, step by step, and is told now and then what can be done and what is best."""
    simulation = Simulation(game)
    history, seed = _history(rng, simulation, _LATEST)
    player = Expert(simulation.instruction, seed)
    stops = sorted(rng.sample(range(len(history) + 1), min(rng.randint(1, _MOST_ADVICE), len(history) + 1)))
    messages: list[Message] = []
    for before, stop in pairwise((0, *stops)):
        _follow(simulation, player, history[before:stop])
        chosen = best(player.belief).action
        actions = _candidates(rng, player, simulation.instruction, chosen, rng.randint(2, MOST_CANDIDATES))
        verdicts = [_verdict_at_once(simulation, player, action) for action in actions]
        asked = f"Compare these: {'; '.join(actions)}." if rng.random() < _ASKED_TO_COMPARE else _ADVISE
        told = render_history(history[before:stop])
        told = told if messages else f"{simulation.instruction}\n\n{told}"
        thought = deliberation(rng, player.belief, verdicts, chosen, informed=False)
        messages += [_user(f"{told}\n\nQuestion: {asked}"), _assistant(f"Thought: {thought}")]
    return messages


def advice_asked(instruction: str, history: Sequence[Step]) -> list[Message]:
    """The question what is best now, from somebody who has told of the game so far."""
    return [_user(f"{instruction}\n\n{render_history(history)}\n\nQuestion: {_ADVISE}")]


def draw_situation(
    rng: Random, game: Game, most: int, deliberated: float = _DELIBERATED, latest: int = _LATEST
) -> Situation:
    """A step of `game` with its candidates and their rollouts: one, or from two up to `most`.

    `deliberated` is how likely the history holds deliberations; it has at most `latest` steps.
    """
    simulation = Simulation(game)
    history, seed = _history(rng, simulation, latest)
    deliberates = rng.random() < deliberated
    player = Expert(simulation.instruction, seed)
    for i, step in enumerate(history):
        if deliberates and rng.random() < _DELIBERATED_STEP:
            candidates = _candidates(rng, player, simulation.instruction, step.action, rng.randint(2, 3))
            verdicts = [_verdict_at_once(simulation, player, action) for action in candidates]
            thought = deliberation(rng, player.belief, verdicts, step.action)
            history[i] = Step(thought, step.action, step.observation)
        _follow(simulation, player, [step])
    sensible = player.act().action
    actions = _candidates(rng, player, simulation.instruction, sensible, max(rng.randint(2, max(most, 2)), 2))
    if most == 1:
        actions = [rng.choice(actions)]
    played = [_verdict(rng, simulation, player, action) for action in actions]
    return Situation(
        simulation.instruction, history, player, sensible, [v for v, _ in played], [r for _, r in played]
    )


def _history(rng: Random, simulation: Simulation, latest: int) -> tuple[list[Step], str]:
    """The first steps of a game, at most `latest` and not the winning one, and their player's seed.

    Some refused actions come again and again, which changes nothing, as with an agent that has lost its way.
    """
    skill = 1.0 if rng.random() < _EXPERT_HISTORY else rng.uniform(0.3, 0.9)
    seed = rng.random().hex()
    played, reward = _play(simulation.fork(), Expert(simulation.instruction, seed, skill), latest)
    history: list[Step] = []
    for step in played[: len(played) - (reward > 0)]:
        stubborn = step.observation == REFUSAL and rng.random() < _STUBBORN
        history += [step] * (1 + (rng.randint(1, _MOST_REPEATS) if stubborn else 0))
    return history[: rng.randint(0, min(len(history), latest))], seed


def _follow(simulation: Simulation, player: Expert, steps: Sequence[Step]) -> None:
    for step in steps:
        simulation.step(step.action)
        player.observe(step.action, step.observation)


def _candidates(rng: Random, player: Expert, instruction: str, sensible: str, count: int) -> list[str]:
    """Distinct actions that a policy may sample here, the sensible one too, in the order of their text."""
    belief = player.belief
    found = {DOMAIN.normalise(sensible): sensible}
    if belief.refused and rng.random() < _REFUSED:
        found.setdefault(DOMAIN.normalise(belief.refused[-1]), belief.refused[-1])
    for _ in range(_TRIES):
        if len(found) >= count:
            break
        action, way = go(rng.choice(belief.receptacles)), rng.random()
        if way < _BY_A_PLAYER:
            action = _another(rng, player, instruction, rng.choice((0.0, 0.0, 1.0))).act().action
        elif way < _BY_A_PLAYER + _ANYTHING and (
            made := make_mistake("anything", belief, player.intend(), rng)
        ):
            action = made.action
        found.setdefault(DOMAIN.normalise(action), action)
    return [found[action] for action in sorted(found)]


def _another(rng: Random, player: Expert, instruction: str, skill: float) -> Expert:
    """Another player who knows what `player` knows."""
    other = Expert(instruction, rng.random().hex(), skill)
    other.belief = player.belief.copy()
    return other


def _verdict(
    rng: Random, simulation: Simulation, player: Expert, action: str
) -> tuple[Verdict, tuple[list[Step], float]]:
    """Execute `action` in a copy of the game, let an imperfect player go on, and judge what came of it."""
    world = simulation.fork()
    other = _another(rng, player, simulation.instruction, rng.choice((1.0, 0.9, 0.7, 0.5, 0.2)))
    result = world.step(action)
    other.observe(action, result.observation)
    steps, reward = [Step("", action, result.observation)], result.reward
    if not result.done:
        left = STEP_LIMIT - len(other.belief.steps)
        rest, reward = _play(world, other, max(rng.choice((2, 6, left, left)), 2))
        steps += rest
    return judge(player.belief, steps, reward), (steps, reward)


def _verdict_at_once(simulation: Simulation, player: Expert, action: str) -> Verdict:
    """Judge `action` by its own outcome, without playing on."""
    result = simulation.fork().step(action)
    return judge(player.belief, [Step("", action, result.observation)], result.reward)


def _play(
    simulation: Simulation, player: Expert, limit: int, after_refusal: float | None = None
) -> tuple[list[Step], float]:
    """Play on for `limit` turns or to the end; with another skill, if given, right after a refused action."""
    steps: list[Step] = []
    reward, skill = 0.0, player.skill
    while len(steps) < limit and not reward:
        if after_refusal is not None:
            player.skill = after_refusal if player.belief.refused else skill
        turn = player.act()
        result = simulation.step(turn.action)
        player.observe(turn.action, result.observation)
        steps.append(Step(turn.thought, turn.action, result.observation))
        reward = result.reward
    return steps, reward


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
