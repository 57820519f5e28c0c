"""WebShop for SAND's agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

from sand_dagster.environments.webshop.catalogue import Goal
from sand_dagster.environments.webshop.domain import as_written
from sand_dagster.environments.webshop.shop import Shop, State
from sand_dagster.types import StepResult, Task


class WebShopEnvironment:
    """See `Environment`.

    The instruction u is the start page. The reward is 0 until something is bought, then the published reward,
    in [0, 1]; buying ends the episode. The answer to an invalid action is the same page.
    """

    cheap_fork: ClassVar[bool] = True

    def __init__(self, open_shop: Callable[[], Shop]) -> None:
        self._open_shop = open_shop
        self._goal: Goal | None = None
        self._state = State()

    def reset(self, task: Task) -> str:
        """Start `task`.

        Raises:
            ValueError: the catalogue has no such goal, or another instruction for it.
        """
        goals = self._open_shop().catalogue.goals
        number = int(task.spec["goal"])
        if number >= len(goals) or goals[number].instruction != task.spec["instruction"]:
            raise ValueError(
                f"task {task.id}: the catalogue has another goal {number}, or none; its files or the seed "
                "have changed since the tasks were listed. Materialise `tasks` again"
            )
        self._goal, self._state = goals[number], State()
        return self._open_shop().observation(self._state, self._goal)

    def step(self, action: str) -> StepResult:
        goal, shop = self._opened(), self._open_shop()
        self._state, valid = shop.act(self._state, goal, as_written(action))
        score = self._state.score
        return StepResult(
            shop.observation(self._state, goal), score.total if score else 0.0, score is not None, valid
        )

    def fork(self) -> Self:
        """A copy in the same state, which is immutable and so shared."""
        copy = type(self)(self._open_shop)
        copy._goal, copy._state = self._opened(), self._state
        return copy

    def admissible(self) -> list[str]:
        """What can be clicked now; a search is possible on every page."""
        self._opened()
        return [f"click[{what}]" for what in self._open_shop().clickables(self._state)]

    def close(self) -> None:
        self._goal = None

    def _opened(self) -> Goal:
        if self._goal is None:
            raise RuntimeError("no task is open: call reset(task) first")
        return self._goal
