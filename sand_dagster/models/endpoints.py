"""One model behind several URLs: prompts that start the same go to one URL, and no request is lost with it.

A request carries its seed, so it does not matter which endpoint completes it, or how often it was tried.
An endpoint that cannot be reached, or says that it is too busy, gets no more requests until it lists our
model again. If no endpoint can be reached, requests wait `endpoint_patience` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sand_dagster.ids import digest
from sand_dagster.models.driver import Sampled
from sand_dagster.models.endpoint import EndpointFailed, EndpointGenerator, how_to_serve
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.models.stats import GenerationStats
from sand_dagster.types import Completion, Message, Sampling

_IMBALANCE = 8
"""The endpoint that has a beginning cached may have this many more requests than the least busy one."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0  # seconds; doubled from one attempt to the next
_TELL_EVERY_S = 30.0
_BUSY = {408, 409, 425, 429, 502, 503, 504}
"""HTTP statuses of a server that cannot answer now, or of a proxy whose server is not available."""
_FAILING = 500
_BEGINNING = 128  # tokens; enough to distinguish tasks
T = TypeVar("T")
_LOG = logging.getLogger(__name__)


class _Backend:
    """One URL. `generator` is None until it is reached, `back_at` is set while it gets no requests."""

    def __init__(self, source: ModelSource) -> None:
        self.source = source
        self.url = str(source.endpoint)
        self.generator: EndpointGenerator | None = None
        self.load = 0
        self.failures = 0
        self.back_at: float | None = None
        self.why = "not asked yet"
        self.probe: asyncio.Task[None] | None = None


class _Attempts:
    """The attempts of one request."""

    def __init__(self, settings: GenerationSettings) -> None:
        self._retries = settings.endpoint_retries
        waits = sum(_wait(failures) for failures in range(self._retries))
        self._patience = max(settings.endpoint_patience, waits)
        self._failed = 0
        self._since: float | None = None

    def again_elsewhere(self) -> bool:
        """A server failed at it: returns whether to try again."""
        self._failed += 1
        return self._failed <= self._retries

    def again_later(self) -> bool:
        """No server was available for it: returns whether to keep waiting."""
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since < self._patience

    @property
    def wait(self) -> float:
        """Seconds before a server that failed at it is tried again."""
        return _wait(self._failed - 1)


def _wait(failures: int) -> float:
    return min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(failures, 10))


class Endpoints:
    """A `Generator` (sand/interfaces.py) over one or more URLs that serve the same model."""

    def __init__(self, backends: Sequence[_Backend], settings: GenerationSettings) -> None:
        self.model_id = backends[0].source.model
        self._backends = backends
        self._settings = settings
        self._alone = settings.model_copy(update={"endpoint_retries": 0})
        self._outage: float | None = None
        self._said = 0.0
        self._wrong: EndpointFailed | None = None

    @classmethod
    async def start(cls, source: ModelSource, settings: GenerationSettings) -> Endpoints:
        """Connect to those that answer, at least one; the others join when they do.

        Raises:
            EndpointFailed: none answers for `endpoint_patience` seconds, or one serves another model.
        """
        assert source.endpoint is not None
        urls = (source.endpoint, *source.also_at)
        backends = [_Backend(source.model_copy(update={"endpoint": url, "also_at": ()})) for url in urls]
        endpoints = cls(backends, settings)
        attempts = _Attempts(settings)
        try:
            while True:
                found = await asyncio.gather(*map(endpoints._reach, backends))
                failures = [failure for failure in found if failure is not None]
                if len(failures) < len(backends):
                    return endpoints
                if not attempts.again_later():
                    raise failures[0]
                await endpoints._pause()
        except BaseException:
            await endpoints.close()
            raise

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Sample the assistant's next message.

        Raises:
            PromptTooLong: a server says so.
            EndpointFailed: refused; or no endpoint answered, after all retries and the whole waiting time.
        """
        beginning = digest(messages[0]["content"]) if messages else ""
        return await self._somewhere(beginning, lambda server: server.complete(messages, sampling))

    async def sample(self, prompt: Sequence[int], sampling: Sampling) -> Sampled:
        """Sample what follows the token ids in `prompt`.

        Raises:
            As `complete`.
        """
        beginning = digest(list(prompt[:_BEGINNING]))
        return await self._somewhere(beginning, lambda server: server.sample(prompt, sampling))

    def give_up(self, reason: str) -> None:
        """No server will come back: every request fails with `reason`, instead of waiting."""
        self._wrong = EndpointFailed(reason)

    async def _somewhere(self, beginning: str, ask: Callable[[EndpointGenerator], Awaitable[T]]) -> T:
        """The answer of the first server that has one; `beginning` says which are asked first."""
        attempts = _Attempts(self._settings)
        while True:
            backend = await self._choose(beginning)
            if backend is None:
                if not attempts.again_later():
                    raise EndpointFailed(self._nobody_there())
                await self._pause()
                continue
            assert backend.generator is not None
            backend.load += 1
            try:
                answer = await ask(backend.generator)
            except EndpointFailed as error:
                if _is_away(error):
                    if not attempts.again_later():
                        raise
                    self._eject(backend, error)
                elif not _is_failing(error) or not attempts.again_elsewhere():
                    raise
                else:
                    await asyncio.sleep(attempts.wait)
                    beginning = digest(beginning)  # another endpoint's turn, if there are several
            else:
                backend.failures, self._outage = 0, None
                return answer
            finally:
                backend.load -= 1

    async def _choose(self, beginning: str) -> _Backend | None:
        """The endpoint for prompts with this beginning; None: none is available.

        Each beginning has its own order of all endpoints (rendezvous hashing). So if one is lost, only the
        beginnings that it had move to another one.
        """
        for backend in self._backends:
            due = backend.back_at is not None and backend.back_at <= time.monotonic()
            if due and (backend.probe is None or backend.probe.done()):
                backend.probe = asyncio.create_task(self._return(backend))
        there = [backend for backend in self._backends if backend.back_at is None]
        probes = [backend.probe for backend in self._backends if backend.probe and not backend.probe.done()]
        if not there and probes:
            await asyncio.wait(probes, return_when=asyncio.FIRST_COMPLETED)
            there = [backend for backend in self._backends if backend.back_at is None]
        if self._wrong is not None:
            raise self._wrong
        if not there:
            return None
        least = min(backend.load for backend in there)
        order = sorted(there, key=lambda backend: digest(backend.url, beginning))
        return next(backend for backend in order if backend.load <= least + _IMBALANCE)

    async def _return(self, backend: _Backend) -> None:
        """Ask an endpoint that was away for its models; if it has ours, it gets requests again."""
        try:
            failure = await self._reach(backend)
        except EndpointFailed as error:
            self._wrong = error
            return
        if failure is None:
            _LOG.warning("The endpoint %s answers again, and gets requests again.", backend.url)

    async def _reach(self, backend: _Backend) -> EndpointFailed | None:
        """Connect to a backend; returns the reason if it is not available.

        Raises:
            EndpointFailed: it serves another model, or refuses.
        """
        try:
            fresh = await EndpointGenerator.start(backend.source, self._alone)
        except EndpointFailed as error:
            if not (_is_away(error) or _is_failing(error)):
                raise
            backend.back_at = None
            self._eject(backend, error)
            return error
        if backend.generator is None:
            backend.generator = fresh
        else:  # requests are counted by the first one
            await fresh.close()
        backend.back_at = None
        return None

    def _eject(self, backend: _Backend, error: EndpointFailed) -> None:
        """Send no requests to it for the time that it asks for, else longer each time."""
        if backend.back_at is not None:  # set by another request
            return
        asked = error.retry_after
        wait = _wait(backend.failures) if asked is None else min(asked, self._settings.endpoint_patience)
        backend.failures += 1
        backend.back_at = time.monotonic() + wait
        backend.why = str(error).partition("\n")[0]
        if backend.failures == 1:
            _LOG.warning(
                "The endpoint %s gets no requests until it answers again. %s", backend.url, backend.why
            )

    async def _pause(self) -> None:
        """Wait until one may be available again, with a message from time to time."""
        now = time.monotonic()
        if self._outage is None:
            self._outage = self._said = now
        if now - self._said >= _TELL_EVERY_S:
            self._said = now
            _LOG.warning(
                "For %.0f s of at most %.0f s: %s",
                now - self._outage,
                self._settings.endpoint_patience,
                self._nobody_there(),
            )
        due = min(backend.back_at or now for backend in self._backends)
        await asyncio.sleep(min(_LONGEST_WAIT, max(0.05, due - now)))

    def _nobody_there(self) -> str:
        why = "; ".join(f"{backend.url}: {backend.why}" for backend in self._backends)
        command = how_to_serve(self._backends[0].source)
        return f"no endpoint of the model {self.model_id!r} answers: {why}{command}"

    def stats(self) -> GenerationStats:
        """Counts since this generator was opened, over all endpoints."""
        total = GenerationStats()
        for backend in self._backends:
            if backend.generator is not None:
                total = total.plus(backend.generator.stats())
        return total

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        for backend in self._backends:
            if backend.probe is not None:
                backend.probe.cancel()
            if backend.generator is not None:
                await backend.generator.close()


def _is_away(error: EndpointFailed) -> bool:
    """Whether the server was not reached, or cannot answer any request now."""
    return not error.reached or error.status in _BUSY


def _is_failing(error: EndpointFailed) -> bool:
    """Whether the server failed at this request, which may succeed another time or elsewhere."""
    return error.status is not None and error.status >= _FAILING
