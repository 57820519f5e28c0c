"""A generator whose engine starts with the first completion: work that is all journalled starts none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from sand_dagster.interfaces import Generator
from sand_dagster.models.engines import engines
from sand_dagster.models.model_folder import model_id, resolve
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.types import Completion, Message, Sampling


class _OnDemand:
    """See `Generator`. An engine that does not start fails the completions that wait for it."""

    def __init__(
        self, model_id: str, source: ModelSource, settings: GenerationSettings, stack: AsyncExitStack
    ) -> None:
        self.model_id = model_id
        self._source, self._settings, self._stack = source, settings, stack
        self._engine: Generator | None = None
        self._starting = asyncio.Lock()

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        async with self._starting:
            if self._engine is None:
                self._engine = await self._stack.enter_async_context(
                    engines.open(self._source, self._settings)
                )
        return await self._engine.complete(messages, sampling)


@asynccontextmanager
async def open_on_demand(source: ModelSource, settings: GenerationSettings) -> AsyncIterator[Generator]:
    """A generator for the model; to be used in coroutines given to `engines.run`.

    Raises:
        ModelUnavailable: no such model.
    """
    if source.endpoint:
        identity = source.model
    else:
        identity = await asyncio.to_thread(lambda: model_id(resolve(source)))
    async with AsyncExitStack() as stack:
        yield _OnDemand(identity, source, settings, stack)
