"""The expert plays simulated games: a whole game takes about a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sand_dagster.types import Step
from toy_alfworld.games.expert import Expert, Turn
from toy_alfworld.games.game import Game
from toy_alfworld.games.simulation import Simulation

_PROOFS = 3


def expert_seed(trial: str, number: int = 0) -> str:
    """The seed of a game's `number`-th expert. The first three are proved to win the game in time."""
    return f"{trial} {number}"


@dataclass(frozen=True, slots=True)
class Playthrough:
    """A game played to its end: the turns, the resulting steps, and the reward."""

    instruction: str
    turns: Sequence[Turn]
    steps: Sequence[Step]
    reward: float


def play(game: Game, step_limit: int, seed: int | str = 0, skill: float = 1.0) -> Playthrough:
    """Play `game` on the simulation until it is won or `step_limit` turns are used."""
    simulation = Simulation(game)
    expert = Expert(simulation.instruction, seed, skill, game.rules)
    turns: list[Turn] = []
    steps: list[Step] = []
    reward = 0.0
    while len(steps) < step_limit and not reward:
        turn = expert.act()
        result = simulation.step(turn.action)
        expert.observe(turn.action, result.observation)
        turns.append(turn)
        steps.append(Step(turn.thought, turn.action, result.observation))
        reward = result.reward
    return Playthrough(simulation.instruction, turns, steps, reward)


def wins(game: Game, step_limit: int) -> bool:
    """Whether the walkthrough and the expert, with its first few seeds, win within `step_limit` turns."""
    simulation = Simulation(game)
    walked = [simulation.step(command).done for command in game.walkthrough]
    if not walked or not walked[-1] or len(walked) > step_limit:
        return False
    return all(play(game, step_limit, expert_seed(game.trial, n)).reward == 1.0 for n in range(_PROOFS))
