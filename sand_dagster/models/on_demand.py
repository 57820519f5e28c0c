"""A generator whose engine starts with the first completion: if all work is journalled, no engine starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from sand_dagster.interfaces import GeneratorDied
from sand_dagster.models.driver import EngineFailed
from sand_dagster.models.engines import OpenGenerator, engines
from sand_dagster.models.model_folder import model_id, resolve
from sand_dagster.models.serving import ModelServer
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.models.stats import GenerationStats, MeteredGenerator
from sand_dagster.types import Completion, Message, Sampling

_LOG = logging.getLogger(__name__)
_RESTARTS = 1
"""How often a crashed engine is started again in a stage: one that crashes twice will crash again."""


class _OnDemand:
    """See `MeteredGenerator`. An engine that does not start fails the completions that wait for it."""

    def __init__(
        self,
        model_id: str,
        source: ModelSource,
        settings: GenerationSettings,
        server: ModelServer | None,
        stack: AsyncExitStack,
    ) -> None:
        self.model_id = model_id
        self._source, self._settings, self._server, self._stack = source, settings, server, stack
        self._engine: OpenGenerator | None = None
        self._before, self._ended = GenerationStats(), GenerationStats()
        """What the engine had done before this, and what those did that have ended."""
        self._starting = asyncio.Lock()
        self._restarts = 0

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Sample the assistant's next message.

        Raises:
            GeneratorDied: the engine ended while it worked on this; the next completion starts a new one.
            EngineFailed: it does not start, or it has ended before.
        """
        engine = await self._started()
        try:
            return await engine.complete(messages, sampling)
        except EngineFailed as error:
            async with self._starting:
                if self._engine is engine:  # only the first of its requests does this
                    self._ended, self._engine = self.stats(), None
                    await engines.discard(engine)
                    self._restarts += 1
                    _LOG.warning("An engine ended, and is started again: %s", error)
            if self._restarts > _RESTARTS:
                raise
            raise GeneratorDied(str(error)) from error

    async def _started(self) -> OpenGenerator:
        async with self._starting:
            if self._engine is None:
                self._engine = await self._stack.enter_async_context(
                    engines.open(self._source, self._settings, self._server)
                )
                self._before = self._engine.stats()
            return self._engine

    def stats(self) -> GenerationStats:
        """Counts since this was opened, over all engines."""
        if self._engine is None:
            return self._ended
        return self._ended.plus(self._engine.stats().since(self._before))


@asynccontextmanager
async def open_on_demand(
    source: ModelSource, settings: GenerationSettings, server: ModelServer | None = None
) -> AsyncIterator[MeteredGenerator]:
    """A generator for the model; use it in coroutines given to `engines.run`. See `Engines.open`.

    Raises:
        ModelUnavailable: no such model.
    """
    if source.endpoint:
        identity = source.model
    else:
        identity = await asyncio.to_thread(lambda: model_id(resolve(source)))
    async with AsyncExitStack() as stack:
        yield _OnDemand(identity, source, settings, server, stack)
