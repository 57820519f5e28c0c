"""A model that records its requests, and a function that sends them again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from sand_dagster.interfaces import Generator
from sand_dagster.types import Completion, Message, Sampling

Asked = list[tuple[Sequence[Message], Sampling]]
"""Requests, in the order in which they came."""


class Recorder:
    """A `Generator` that records its requests and answers."""

    def __init__(self, model: Generator) -> None:
        self.model_id = model.model_id
        self._model = model
        self.asked: Asked = []
        self.answers: list[Completion] = []

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """See `Generator`."""
        completion = await self._model.complete(messages, sampling)
        self.asked.append((list(messages), sampling))
        self.answers.append(completion)
        return completion


async def ask_again(model: Generator, asked: Asked, max_concurrency: int) -> float:
    """Seconds in which `model` completes `asked`, in order, at most `max_concurrency` at once."""
    waiting = iter(asked)

    async def worker() -> None:
        for messages, sampling in waiting:
            await model.complete(messages, sampling)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(max_concurrency, len(asked))):
            group.create_task(worker())
    return time.perf_counter() - started
