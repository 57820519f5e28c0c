"""ALFWorld for SAND's agent: the game, with observations in the form of the published data."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from alfworld_compiled.episode import REFUSAL, Episode
from alfworld_compiled.spelling import Spelling, as_written
from sand_dagster.types import StepResult, Task

_HEADER = re.compile(r"\A-= .* =-\n\n")
_ARRIVAL = re.compile(r"\AYou arrive at [^.\n]+\. ")


@dataclass(frozen=True, slots=True)
class OpenedGame:
    """A game at its start: `spoken` is in the game's own spelling, `heard` in the agent's spelling."""

    play: Episode
    spoken: Spelling
    heard: Spelling


def as_published(observation: str) -> str:
    """An engine's observation as ETO's expert data has it: no `You arrive at R. `, no welcome."""
    return _ARRIVAL.sub("", _HEADER.sub("", observation))


class AlfworldEnvironment:
    """See `Environment`.

    An action may be written in either grammar, with odd white space and a trailing full stop; its case
    counts, as in the engine. The reward is 1 once the goal was reached, and the episode is done then.
    """

    def __init__(self, open_game: Callable[[Task], OpenedGame], cheap_fork: bool = False) -> None:
        self._open_game = open_game
        self.cheap_fork = cheap_fork
        """Whether the worker pool forks parked prefixes instead of replaying them."""
        self._game: OpenedGame | None = None
        self._won = False

    def reset(self, task: Task) -> str:
        """Start `task`.

        Raises:
            GameError: its game is missing or cannot be read.
        """
        self.close()
        self._game = self._open_game(task)
        self._won = self._game.play.won()
        return self._game.heard.reword(as_published(self._game.play.intro))

    def step(self, action: str) -> StepResult:
        game = self._opened()
        raw = game.play.step(game.spoken.respell(as_written(action)))
        self._won = self._won or game.play.won()
        observation = game.heard.reword(as_published(raw))
        return StepResult(observation, float(self._won), self._won, raw != REFUSAL)

    def fork(self) -> Self:
        game = self._opened()
        copy = type(self)(self._open_game, self.cheap_fork)
        copy._game = OpenedGame(game.play.fork(), game.spoken, game.heard)
        copy._won = self._won
        return copy

    def admissible(self) -> list[str]:
        """What the engine itself would accept now, in the game's own spelling."""
        return self._opened().play.admissible()

    def close(self) -> None:
        if self._game is not None:
            self._game.play.close()
            self._game = None

    def _opened(self) -> OpenedGame:
        if self._game is None:
            raise RuntimeError("no task is open: call reset(task) first")
        return self._game
