"""A model with scripted answers and an environment of one corridor; a test can make both fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sand_dagster.environments.alfworld import DOMAIN
from sand_dagster.execution.units import MemoryJournal, Stage, no_progress
from sand_dagster.interfaces import EnvironmentDied, PromptTooLong, ReplayMismatch
from sand_dagster.sand.episode import Agent
from sand_dagster.sand.trajectories import Demonstration, demonstrations_of, expert_rows, next_demonstrations
from sand_dagster.types import Completion, Message, Sampling, Step, StepResult, Task, Trajectory

TASK = Task("corridor/1", "corridor", "train", "walk", 6, {})
INSTRUCTION = "You are in a corridor.\n\nYour task is to: reach door 3."
GOAL = "go to door 3"
CUT = "✂"


@dataclass
class ScriptedModel:
    """Answers with `reply(prompt text, sampling)`; an answer of None is a prompt too long.

    An answer that ends in `CUT` is cut off there.
    """

    reply: Callable[[str, Sampling], str | None]
    model_id: str = "scripted"
    asked: list[tuple[list[Message], Sampling]] = field(default_factory=list)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        self.asked.append((list(messages), sampling))
        text = self.reply(messages[-1]["content"], sampling)
        if text is None:
            raise PromptTooLong(9999, 4096)
        return Completion(text.removesuffix(CUT), 10, 5, "length" if text.endswith(CUT) else "stop")


@dataclass
class Corridor:
    """Won by the action GOAL. `deaths` is how many opens fail first; `changed`: two steps do not replay."""

    deaths: int = 0
    changed: bool = False
    opened: list[list[Step]] = field(default_factory=list)

    async def open(self, task: Task, prefix: Sequence[Step] = ()) -> CorridorEpisode:
        if self.deaths:
            self.deaths -= 1
            raise EnvironmentDied("the worker was killed")
        if self.changed and len(prefix) == 2:
            raise ReplayMismatch(task.id, 1, prefix[1].action, prefix[1].observation, "You fall.")
        self.opened.append(list(prefix))
        return CorridorEpisode()


class CorridorEpisode:
    instruction = INSTRUCTION

    async def step(self, action: str) -> StepResult:
        if action == GOAL:
            return StepResult("You reach door 3.", 1.0, True, True)
        valid = action.startswith("go to")
        return StepResult("You walk." if valid else "Nothing happens.", 0.0, False, valid)

    async def close(self) -> None: ...


def stage(max_concurrency: int = 4, iteration: str = "01", journal: MemoryJournal | None = None) -> Stage:
    return Stage(MemoryJournal() if journal is None else journal, max_concurrency, no_progress, iteration, 0)


def demonstration() -> Demonstration:
    """Three steps to the door; the second has no thought."""
    steps = [
        Step("I start.", "go to door 1", "You walk."),
        Step("", "go to door 2", "You walk."),
        Step("Nearly there.", GOAL, "You reach door 3."),
    ]
    trajectory = Trajectory("e1", TASK, INSTRUCTION, steps, 1.0)
    return demonstrations_of(next_demonstrations("01", expert_rows([trajectory]), None))[0]


def agent(reply: Callable[[str, Sampling], str | None]) -> Agent:
    return Agent("policy-1", ScriptedModel(reply), DOMAIN, 64)
