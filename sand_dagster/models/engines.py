"""The engines of this process: started when first needed, shared, and ended in time."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sand_dagster.models.card_locks import CardLocks
from sand_dagster.models.loop import LoopThread
from sand_dagster.models.model_folder import model_id, resolve
from sand_dagster.models.replicas import any_kept, end_kept
from sand_dagster.models.serving import ModelServer, Serving
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.models.stats import MeteredGenerator

T = TypeVar("T")
_KEPT_ON_CPU = 2
_KEPT_ON_GPU = 1
_LOOK_EVERY_S = 0.5


class OpenGenerator(MeteredGenerator, Protocol):
    """A generator with counts, which the cache closes."""

    async def close(self) -> None: ...


class _Entry:
    def __init__(self, local: bool) -> None:
        self.local = local
        self.users = 0
        self.ready = asyncio.Lock()
        self.generator: OpenGenerator | None = None


_LOOP = LoopThread()


class Engines:
    """A cache of generators by model and settings, with their event loop.

    An engine costs seconds to minutes to start and gigabytes to hold, so the stages of a run share it. At
    most `keep` local engines are alive: starting another ends the one that was used longest ago. An engine
    in use is never ended by another's start. Endpoints cost nothing and are not counted.

    While a local engine is alive the GPUs are locked. Dagster's pool is released after every step, but an
    engine is kept. So an unused engine ends as soon as another process, which now has the pool, waits for
    the lock.
    """

    def __init__(self, keep: int | None = None, locks: CardLocks | None = None) -> None:
        self._keep = keep
        self._locks = locks or CardLocks.of_this_machine()
        self._watching: asyncio.Task[None] | None = None
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        atexit.register(self._at_exit)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the engines' loop, from an ordinary function, and return its result."""
        return _LOOP.run(coroutine)

    @asynccontextmanager
    async def open(
        self, source: ModelSource, settings: GenerationSettings, server: ModelServer | None = None
    ) -> AsyncIterator[OpenGenerator]:
        """A generator for the model. It starts when this is entered, and may stay alive afterwards.

        If there is a `server`, it serves a model that is a folder; else an engine of ours does. Use it in
        coroutines given to `run`.

        Raises:
            ModelUnavailable: no such model. NoChatTemplate: it has no chat template. EngineFailed: no start.
        """
        folder = None if source.endpoint else await asyncio.to_thread(resolve, source)
        # The content, not only the path: a repeated training replaces its folder.
        content = await asyncio.to_thread(model_id, folder) if folder else ""
        key = f"{source.model_dump_json()} {content} {settings.model_dump_json()}"
        if server is not None:
            key += f" {server.key}"
        here = folder is not None and (server is None or server.local)
        entry = self._entries.setdefault(key, _Entry(local=here))
        self._entries.move_to_end(key)
        entry.users += 1
        try:
            async with entry.ready:
                if entry.generator is None:
                    if here:
                        await self._make_room()
                        await self._hold_cards()
                    entry.generator = await _start(source, folder, settings, server)
            yield entry.generator
        finally:
            entry.users -= 1
            if entry.generator is None and entry.users == 0:
                self._entries.pop(key, None)
                self._let_go()

    async def discard(self, generator: OpenGenerator) -> None:
        """End an engine that failed, even if it is in use, and the unused ones, which shared its processes.

        The next `open` of its model starts a new engine.
        """
        for key, entry in list(self._entries.items()):
            if entry.generator is generator or (entry.local and not entry.users):
                with contextlib.suppress(Exception):  # closing may no longer be possible
                    await self._end(key)

    def release_all(self) -> None:
        """End every engine, to free the memory for a training. For ordinary functions, between stages.

        Raises:
            RuntimeError: an engine is in use.
        """
        if self._entries:
            self.run(self._release_idle())

    async def _release_idle(self) -> None:
        used = [key for key, entry in self._entries.items() if entry.users]
        if used:
            raise RuntimeError(f"engines are still generating and cannot be released: {'; '.join(used)}")
        await self._end_all()

    async def _end_all(self) -> None:
        while self._entries:
            await self._end(next(iter(self._entries)))

    async def _make_room(self) -> None:
        from sand_dagster.models import vllm_engine

        keep = self._keep or (_KEPT_ON_CPU if vllm_engine.on_cpu() else _KEPT_ON_GPU)
        local = [key for key, entry in self._entries.items() if entry.generator is not None and entry.local]
        idle = [key for key in local if not self._entries[key].users]
        for key in idle[: max(0, len(local) - keep + 1)]:
            await self._end(key)

    async def _end(self, key: str) -> None:
        generator = self._entries.pop(key).generator
        if generator is not None:
            await generator.close()
        self._let_go()

    async def _hold_cards(self) -> None:
        """Lock the GPUs, if there are any; waits while another process has them."""
        await self._locks.acquire()
        if self._locks.held and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._give_way())

    async def _give_way(self) -> None:
        """While the GPUs are held: end unused engines as soon as another process waits for the GPUs."""
        while self._locks.held:
            await asyncio.sleep(_LOOK_EVERY_S)
            local = {key: entry for key, entry in self._entries.items() if entry.local}
            if self._locks.wanted and not any(entry.users for entry in local.values()):
                for key in local:
                    await self._end(key)

    def _let_go(self) -> None:
        if not any(entry.local for entry in self._entries.values()):
            self._locks.release()

    def _at_exit(self) -> None:
        if self._entries or any_kept():
            self.run(self._end_all())
            _LOOP.run(end_kept())
        _LOOP.stop()


async def _start(
    source: ModelSource,
    folder: Path | None,
    settings: GenerationSettings,
    server: ModelServer | None,
) -> OpenGenerator:
    """A generator for the model in `folder`, or at the endpoint of `source`.

    The imports are here, because the endpoints' client would add a second to every start of Dagster, and
    vLLM much more.
    """
    if folder is not None and server is None:
        from sand_dagster.models import vllm_engine

        return await vllm_engine.start(folder, settings)
    from sand_dagster.models.encoded import EncodedEndpoints
    from sand_dagster.models.endpoints import Endpoints
    from sand_dagster.models.serving import Elsewhere

    if folder is None or server is None:
        if source.tokenizer is None:
            return await Endpoints.start(source, settings)
        assert source.endpoint is not None
        serving: Serving = Elsewhere(source.model, (source.endpoint, *source.also_at))
        return await EncodedEndpoints.start(source, settings, serving)
    serving = await server.serve(folder, source.checkpoint_id, settings)
    served = ModelSource(
        model=serving.name,
        endpoint=serving.urls[0],
        also_at=serving.urls[1:],
        checkpoint=folder,
        tokenizer=folder,
        engine_version=serving.version,
    )
    return await EncodedEndpoints.start(served, settings, serving)


engines = Engines()
"""The process's engines."""
