"""Guess the number: the agent names a number, and the answer is whether the hidden one is higher or lower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from sand_dagster.environments import Progress
from sand_dagster.ids import identify
from sand_dagster.types import Step, StepResult, Task, Trajectory

PROMPT = """\
Find a hidden number. In each turn write a thought and an action, in this form:
Thought: your thoughts
Action: guess NUMBER

{task}"""


class Options(BaseModel):
    """The `environment` section of an experiment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    highest: int = Field(15, ge=4, description="training tasks hide the numbers from 1 to this one")
    step_limit: int = Field(8, ge=1, description="turns in an episode")


class GuessDomain:
    """What is known of the environment without running it."""

    name = "guess"
    refusal = "Say `guess` and a number."

    def normalise(self, action: str) -> str:
        """Maps actions that do the same to the same text: case and white space do not count."""
        return " ".join(action.lower().split())

    def prompt(self, instruction: str) -> str:
        """The agent's first message."""
        return PROMPT.replace("{task}", instruction)


class Guess:
    """One task being played. It lives in a worker process."""

    cheap_fork = True  # copying the state costs less than replaying the actions

    def reset(self, task: Task) -> str:
        """Starts a task and returns the first observation."""
        self._hidden, self._highest = int(task.spec["hidden"]), int(task.spec["highest"])
        self._found = False
        return f"A number from 1 to {self._highest} is hidden. Find it."

    def step(self, action: str) -> StepResult:
        """Executes an action as the agent wrote it."""
        verb, _, number = DOMAIN.normalise(action).partition(" ")
        if verb != "guess" or not number.isdecimal():
            return StepResult(DOMAIN.refusal, float(self._found), self._found, valid=False)
        guess = int(number)
        self._found = guess == self._hidden
        answer = "That is it." if self._found else "Higher." if guess < self._hidden else "Lower."
        return StepResult(answer, float(self._found), self._found, valid=True)

    def fork(self) -> Guess:
        """An independent copy in the same state."""
        return copy(self)

    def close(self) -> None:
        """There is nothing to free."""


DOMAIN = GuessDomain()
PACKAGES = ("guess-the-number",)
PATHS: tuple[str, ...] = ()
PLAYING: tuple[str, ...] = ()


def make(options: Options, home: Path) -> Guess:
    """An environment for one worker process."""
    return Guess()


def files(options: Options, home: Path) -> Mapping[str, str]:
    """Content hashes of files that tasks and experts are read from: there are none."""
    return {}


def tasks(options: Options, home: Path, progress: Progress) -> list[Task]:
    """Odd numbers are for training, even ones for the tests; the unseen tests have twice the range."""
    train = [_task("train", n, options.highest, options) for n in range(1, options.highest + 1, 2)]
    seen = [_task("seen", n, options.highest, options) for n in range(2, options.highest + 1, 2)]
    above = range(options.highest + 1, 2 * options.highest + 1)
    unseen = [_task("unseen", n, 2 * options.highest, options) for n in above]
    return [*train, *seen, *unseen]


def experts(options: Options, home: Path, tasks: Sequence[Task], progress: Progress) -> Iterator[Trajectory]:
    """The expert halves the range, and its thoughts say why."""
    training = [task for task in tasks if task.split == "train"]
    for done, task in enumerate(training, start=1):
        yield _demonstrate(task)
        progress(done, len(training))


def _demonstrate(task: Task) -> Trajectory:
    environment = Guess()
    instruction = environment.reset(task)
    low, high = 1, int(task.spec["highest"])
    steps: list[Step] = []
    reward = 0.0
    while reward < 1 and len(steps) < task.step_limit:
        guess = (low + high) // 2
        result = environment.step(f"guess {guess}")
        thought = f"It is from {low} to {high}. The middle is {guess}."
        steps.append(Step(thought, f"guess {guess}", result.observation))
        low, high = (guess + 1, high) if result.observation == "Higher." else (low, guess - 1)
        reward = result.reward
    return Trajectory(identify("expert", task.id), task, instruction, steps, reward)


def _task(split: str, hidden: int, highest: int, options: Options) -> Task:
    return Task(
        id=f"guess/{split}/{hidden}",
        environment="guess",
        split=split,
        kind=f"1 to {highest}",
        step_limit=options.step_limit,
        spec={"hidden": hidden, "highest": highest},
    )
