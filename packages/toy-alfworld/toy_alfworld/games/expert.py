"""The expert: explores like a person, using only the observations, and says what it thinks (D_exp).

    expert = Expert(instruction, seed=7)
    turn = expert.act()
    expert.observe(turn.action, observation)

To act from any point of a game, `observe` the steps so far, its own or another player's, and then `act`. The
next step depends only on the seed, the skill and those steps: after its own steps it takes the same next
step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random

from sand_dagster.types import Step
from toy_alfworld.games.belief import Belief
from toy_alfworld.games.catalogue import Rules
from toy_alfworld.games.intents import Intent, best
from toy_alfworld.games.mistakes import Mistake, make_mistake, slip
from toy_alfworld.games.thoughts import think

_TASTE = 0.5
"""Spread of the factors by which a player's order of searching differs from common sense."""
_HABIT = 0.9
"""The probability that a player of half the skill or less has each habit."""
_HABITS: Mapping[Mistake, float] = {
    "unprepared": 1.0,
    "overcommits": 1.0,
    "passes by": 1.0,
    "unlikely place": 1.0,
    "wrong object": 0.4,
    "wrong place": 0.3,
    "known place": 0.3,
}
"""Mistakes that a player makes during the whole game, and how often, when they are possible."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The player's text, its intent, and the mistake in it, if any."""

    thought: str
    action: str
    intent: Intent
    mistake: Mistake | None = None


class Expert:
    """A player of household games. At full skill it wins every generated game within the step limit.

    Args:
        instruction: the first observation with the task, as the environment gives it.
        seed: varies the order of searching, the wording, and the mistakes.
        skill: the probability that a turn has no mistake, when one is possible; below 1 it also has habits.
        rules: the rules that it plays by.
    """

    def __init__(
        self, instruction: str, seed: int | str = 0, skill: float = 1.0, rules: Rules = "usual"
    ) -> None:
        self.belief = Belief(instruction, rules)
        self.skill = skill
        self._seed = seed
        rng = Random(f"household expert {seed}")
        self._taste = {r: math.exp(rng.gauss(0.0, _TASTE)) for r in self.belief.receptacles}
        habit = _HABIT * min(2.0 * (1.0 - skill), 1.0)
        self._habits = [name for name in _HABITS if rng.random() < habit]

    def observe(self, action: str, observation: str) -> None:
        """Add one step, of any player."""
        self.belief.update(action, observation)

    def replay(self, steps: Iterable[Step]) -> None:
        """Add all of `steps`."""
        for step in steps:
            self.observe(step.action, step.observation)

    def intend(self) -> Intent:
        """The sensible next step, for any skill."""
        return best(self.belief, self._taste)

    def act(self) -> Turn:
        """The next turn. It changes nothing: the step is known only after it is observed."""
        rng = Random(f"household turn {self._seed} {len(self.belief.steps)}")
        intent, mistake = self._decide(rng)
        return Turn(think(self.belief, intent, rng), intent.action, intent, mistake)

    def _decide(self, rng: Random) -> tuple[Intent, Mistake | None]:
        intent = self.intend()
        if not self.belief.refused:
            for name in self._habits:
                if rng.random() < _HABITS[name] and (made := make_mistake(name, self.belief, intent, rng)):
                    return made, name
        if rng.random() >= self.skill and (slipped := slip(self.belief, intent, rng)):
            return slipped[1], slipped[0]
        return intent, None
