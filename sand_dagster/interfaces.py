"""The interfaces that the algorithm needs. `sand/` knows nothing else about engines and trainers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

from sand_dagster.types import Completion, Message, Sampling, Step, StepResult, Task


class PromptTooLong(Exception):
    """The prompt and `max_tokens` exceed the model's context. The unit ends with a counted outcome."""

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
            "The trajectory was recorded with other games or another version of the environment."
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
    """What is known of an environment without running it."""

    name: str
    refusal: str
    """The observation for a reply that contains no action."""
    opening: str
    """How every instruction u begins."""

    def normalise(self, action: str) -> str:
        """Maps actions that do the same to the same text (the set in the indicator, Eq. 4)."""
        ...

    def prompt(self, instruction: str) -> str:
        """The agent's first user message: Figure 7 or 8 with `{task}` filled in."""
        ...


class Generator(Protocol):
    """A language model that completes chats. Flat stages and interactive rollouts use the same call."""

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

        Returns a report; its `model_id` is the content hash of the written model.
        """
        ...
