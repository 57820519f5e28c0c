"""Games for TRL's `GRPOTrainer(environment_factory=…)`; needs the extra `trl`.

Every public method of such an environment except `reset` and `get_reward` is a tool that the model may call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alfworld_compiled.games import find_games
from alfworld_compiled.play import STEP_LIMIT, Play

if TYPE_CHECKING:
    from datasets import Dataset

INSTRUCTION = (
    "You are in a house and have a task to do there. Call the tool `act` with one action at a time and read "
    "what comes of it. Actions are spelt exactly, such as: go to desk 1, open drawer 2, take mug 1 from desk "
    "1, move mug 1 to shelf 1, use desklamp 1, heat mug 1 with microwave 1, cool mug 1 with fridge 1, clean "
    "mug 1 with sinkbasin 1, examine mug 1, look, inventory.\n\n"
)
_OVER = "The episode is over."


class AlfworldToolEnv:
    """A game with one tool, `act`; the reward is 1 if the goal was reached::

        GRPOTrainer(model, train_dataset=dataset("json_2.1.1/train"), environment_factory=AlfworldToolEnv)

    For another step limit or cache: `environment_factory=partial(AlfworldToolEnv, step_limit=30)`.
    """

    def __init__(self, step_limit: int | None = STEP_LIMIT, cache: Path | None = None) -> None:
        self._limit, self._cache = step_limit, cache
        self._play: Play | None = None

    def reset(self, game: str, **row: Any) -> str:
        """Start the file `game`, a column of the data set; returns the first observation for the prompt.

        Raises:
            GameError: it is missing, malformed or unsupported.
        """
        self._play = Play.start(Path(game), self._limit, self._cache)
        return self._play.observation

    def act(self, action: str) -> str:
        """Do one thing in the house.

        Args:
            action: What to do, such as "go to desk 1" or "take mug 1 from desk 1".

        Returns:
            What you see after it, or "Nothing happens." where it cannot be done.
        """
        play = self._opened()
        if play.done:
            return _OVER
        observation = play.step(action.strip())
        return f"{observation}\n{_OVER}" if play.done else observation

    def get_reward(self) -> float:
        """1 if the goal was reached, 0 otherwise."""
        return self._opened().score

    def _opened(self) -> Play:
        if self._play is None:
            raise RuntimeError("no game is open: call reset(game=…) first")
        return self._play


def dataset(games: str | Path | Sequence[str | Path], instruction: str = INSTRUCTION) -> Dataset:
    """A row for each game file (see `find_games`): `game`, and the `prompt`, which ends with the first
    observation.

    Raises:
        GameError: there is no game.
    """
    from datasets import Dataset

    message = {"role": "user", "content": instruction}
    return Dataset.from_list([{"prompt": [message], "game": str(game)} for game in find_games(games)])
