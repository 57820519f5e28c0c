"""The reference: a game played by textworld's own PDDL engine, set up as in alfworld."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from alfworld_compiled.episode import ForkError
from alfworld_compiled.games import GameError, read_game
from alfworld_compiled.translator import translator


class StockEpisode:
    """See `Episode`. It is slow: a load or reset takes 0.3 to 2.5 s, a step 30 to 125 ms; `fork` replays.

    The file's grammar is passed to Python's `eval` here: play only games from a source that you trust.

    Raises:
        GameError: the file is missing or torn, or the engine cannot load it.
    """

    def __init__(self, path: Path, environment: Any = None) -> None:
        """Load the game at `path`, unless `environment` already has it."""
        self._path = path
        self._history: list[tuple[str, str]] = []
        self._environment: Any = environment or load_stock(path)
        self.intro = self.reset()

    def reset(self) -> str:
        """Back to the start; returns the intro."""
        self._history.clear()
        with translator():
            self._state: Any = self._environment.reset()
        self.score, self.done = 0, False
        return str(self._state.feedback)

    def step(self, command: str) -> str:
        with translator():
            self._state, self.score, self.done = self._environment.step(command)
        observation = str(self._state.feedback)
        self._history.append((command, observation))
        return observation

    def won(self) -> bool:
        return bool(self._state["won"])

    def admissible(self) -> list[str]:
        return list(self._state["admissible_commands"])

    def fork(self) -> Self:
        """A new engine, brought to this state by replay.

        Raises:
            ForkError: an observation differs from the first time.
        """
        copy = type(self)(self._path)
        for index, (command, expected) in enumerate(self._history):
            found = copy.step(command)
            if found != expected:
                raise ForkError(
                    f"{self._path}: in the replay for a fork, step {index} ({command!r}) gave {found!r}, but "
                    f"at first it gave {expected!r}"
                )
        return copy

    def close(self) -> None:
        self._environment = None


def load_stock(path: Path) -> Any:
    """textworld's environment for the game at `path`, with alfworld's names for objects.

    Raises:
        GameError: the engine cannot load it.
    """
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    read_game(path)
    with translator():
        try:
            return textworld.start(
                str(path),
                textworld.EnvInfos(won=True, admissible_commands=True),
                wrappers=[AlfredDemangler(), AlfredInfos],
            )
        except Exception as error:
            raise GameError(f"{path}: the stock engine cannot load it ({error!r})") from error
