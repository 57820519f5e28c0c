"""Steps of a game at which candidates are compared: real histories, and the result of each candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from alfworld_compiled.episode import REFUSAL
from sand_dagster.environments.alfworld.domain import AlfworldDomain
from sand_dagster.types import Step
from toy_alfworld.games.expert import Expert
from toy_alfworld.games.game import Game
from toy_alfworld.games.generation import STEP_LIMIT
from toy_alfworld.games.intents import go
from toy_alfworld.games.mistakes import make_mistake
from toy_alfworld.games.simulation import Simulation
from toy_alfworld.model.teachers.deliberations import deliberation
from toy_alfworld.model.teachers.verdicts import Verdict, judge

DOMAIN = AlfworldDomain()

MOST_CANDIDATES = 5
"""The most candidates of a situation: a policy's N samples."""

LATEST = STEP_LIMIT - 2
"""The most steps before a situation."""

_EXPERT_HISTORY = 0.5
_STUBBORN, _MOST_REPEATS = 0.3, 4
_DELIBERATED = 0.3
_DELIBERATED_STEP = 0.5
_REFUSED = 0.4
_BY_A_PLAYER, _ANYTHING = 0.75, 0.1
_TRIES = 40


@dataclass(frozen=True, slots=True)
class Situation:
    """A step of a game at which candidates are compared: the expert's action, and the result of each
    candidate."""

    instruction: str
    history: Sequence[Step]
    player: Expert
    expert_action: str
    verdicts: Sequence[Verdict]
    rollouts: Sequence[tuple[Sequence[Step], float]]


def draw_situation(
    rng: Random, game: Game, most: int, deliberated: float = _DELIBERATED, latest: int = LATEST
) -> Situation:
    """A step of `game` with its candidates and their rollouts: one, or from two up to `most`.

    `deliberated` is how likely the history holds deliberations; it has at most `latest` steps.
    """
    simulation = Simulation(game)
    history, seed = beginning(rng, simulation, latest)
    deliberates = rng.random() < deliberated
    player = Expert(simulation.instruction, seed)
    for i, step in enumerate(history):
        if deliberates and rng.random() < _DELIBERATED_STEP:
            candidates = sampled(rng, player, simulation.instruction, step.action, rng.randint(2, 3))
            verdicts = [verdict_at_once(simulation, player, action) for action in candidates]
            thought = deliberation(rng, player.belief, verdicts, step.action)
            history[i] = Step(thought, step.action, step.observation)
        follow(simulation, player, [step])
    sensible = player.act().action
    actions = sampled(rng, player, simulation.instruction, sensible, max(rng.randint(2, max(most, 2)), 2))
    if most == 1:
        actions = [rng.choice(actions)]
    played = [_verdict(rng, simulation, player, action) for action in actions]
    return Situation(
        simulation.instruction, history, player, sensible, [v for v, _ in played], [r for _, r in played]
    )


def beginning(rng: Random, simulation: Simulation, latest: int) -> tuple[list[Step], str]:
    """The first steps of a game, at most `latest` and not the winning one, and their player's seed.

    Some refused actions are repeated several times, as by an agent that is stuck.
    """
    skill = 1.0 if rng.random() < _EXPERT_HISTORY else rng.uniform(0.3, 0.9)
    seed = rng.random().hex()
    played, reward = play_on(simulation.fork(), Expert(simulation.instruction, seed, skill), latest)
    history: list[Step] = []
    for step in played[: len(played) - (reward > 0)]:
        stubborn = step.observation == REFUSAL and rng.random() < _STUBBORN
        history += [step] * (1 + (rng.randint(1, _MOST_REPEATS) if stubborn else 0))
    return history[: rng.randint(0, min(len(history), latest))], seed


def follow(simulation: Simulation, player: Expert, steps: Sequence[Step]) -> None:
    """Execute `steps` in the game; `player` observes them."""
    for step in steps:
        simulation.step(step.action)
        player.observe(step.action, step.observation)


def sampled(rng: Random, player: Expert, instruction: str, sensible: str, count: int) -> list[str]:
    """Distinct actions that a policy may sample here, including the sensible one, sorted by their text."""
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
    """Another player with the same knowledge as `player`."""
    other = Expert(instruction, rng.random().hex(), skill)
    other.belief = player.belief.copy()
    return other


def _verdict(
    rng: Random, simulation: Simulation, player: Expert, action: str
) -> tuple[Verdict, tuple[list[Step], float]]:
    """Execute `action` in a copy of the game, let an imperfect player continue, and judge the result."""
    world = simulation.fork()
    other = _another(rng, player, simulation.instruction, rng.choice((1.0, 0.9, 0.7, 0.5, 0.2)))
    result = world.step(action)
    other.observe(action, result.observation)
    steps, reward = [Step("", action, result.observation)], result.reward
    if not result.done:
        left = STEP_LIMIT - len(other.belief.steps)
        rest, reward = play_on(world, other, max(rng.choice((2, 6, left, left)), 2))
        steps += rest
    return judge(player.belief, steps, reward), (steps, reward)


def verdict_at_once(simulation: Simulation, player: Expert, action: str) -> Verdict:
    """Judge `action` by its own outcome, without continuing the game."""
    result = simulation.fork().step(action)
    return judge(player.belief, [Step("", action, result.observation)], result.reward)


def play_on(
    simulation: Simulation, player: Expert, limit: int, after_refusal: float | None = None
) -> tuple[list[Step], float]:
    """Continue for `limit` turns or to the end; with another skill, if given, right after a refused
    action."""
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
