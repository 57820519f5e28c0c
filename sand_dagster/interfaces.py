"""What the algorithm asks of the world around it. `sand/` knows nothing else of engines and trainers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from sand_dagster.types import Completion, Message, Sampling, Step, StepResult, Task


class PromptTooLong(Exception):
    """The prompt and `max_tokens` do not fit the model's context. Ends the unit with a counted outcome."""

    def __init__(self, prompt_tokens: int, context: int) -> None:
        super().__init__(f"prompt of {prompt_tokens} tokens does not fit the context of {context} tokens")
        self.prompt_tokens = prompt_tokens
        self.context = context


class ReplayMismatch(Exception):
    """An observation differs from the recorded one while a prefix is replayed."""

    def __init__(self, task_id: str, index: int, action: str, expected: str, found: str) -> None:
        super().__init__(
            f"task {task_id}, step {index}, action {action!r}: the environment's observation differs from "
            f"the recorded one.\n  recorded: {expected!r}\n  found:    {found!r}\n"
            "The games or the environment's version are not those the trajectory was recorded with."
        )
        self.task_id, self.index, self.action = task_id, index, action
        self.expected, self.found = expected, found


class EnvironmentDied(Exception):
    """A worker process ended while it held this episode. The unit is repeated and counted."""


class GeneratorDied(Exception):
    """An engine ended while it worked on a completion. The unit is repeated and counted."""


@runtime_checkable
class Environment(Protocol):
    """One task being played, in this process."""

    def reset(self, task: Task) -> str:
        """Start `task`; returns the instruction u (first observation and goal)."""
        ...

    def step(self, action: str) -> StepResult:
        """Execute one action as the agent wrote it."""
        ...

    def fork(self) -> Self:
        """An independent copy in the same state."""
        ...

    def close(self) -> None:
        """Free everything. Idempotent."""
        ...


class Episode(Protocol):
    """One task being played on a worker process."""

    instruction: str

    async def step(self, action: str) -> StepResult: ...

    async def close(self) -> None: ...


class Environments(Protocol):
    """A pool of environments on worker processes."""

    async def open(self, task: Task, prefix: Sequence[Step] = ()) -> Episode:
        """Start `task` and replay `prefix`, checking every observation against the recorded one.

        Raises:
            ReplayMismatch: an observation differs.
            EnvironmentDied: the worker ended.
        """
        ...


class Domain(Protocol):
    """What an environment says of itself without being run."""

    name: str
    refusal: str
    """The observation for a reply that holds no action."""
    opening: str
    """How every instruction u begins."""

    def normalise(self, action: str) -> str:
        """The form in which two actions that do the same are equal (PAPER: the indicator's set)."""
        ...

    def prompt(self, instruction: str) -> str:
        """The agent's first user message: Figure 7 or 8 with `{task}` filled in."""
        ...


class Generator(Protocol):
    """A language model that completes chats. One call serves flat stages and interactive rollouts."""

    model_id: str
    """The content hash of the model's files, or the endpoint's model name."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Sample the assistant's next message.

        Raises:
            PromptTooLong: the prompt and `max_tokens` do not fit the context.
        """
        ...


class Trainer(Protocol):
    """Supervised finetuning, Eq. 2 and Eq. 7."""

    def finetune(
        self, conversations: Sequence[Sequence[Message]], parent: Path, output: Path, seed: int, epochs: int
    ) -> Mapping[str, object]:
        """Finetune `parent` on the assistant's tokens; writes a Hugging Face folder to `output`.

        Returns what it did; `model_id` in it is the content hash of the model that it wrote.
        """
        ...
