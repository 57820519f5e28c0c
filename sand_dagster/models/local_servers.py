"""Model servers that this process starts, on loopback, each restarted once if it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from sand_dagster.execution.child import Child, ChildDied
from sand_dagster.models.driver import EngineFailed
from sand_dagster.models.server_programs import ServerProgram

_RESTARTS = 1
_START_S = 1800.0  # a large model is read from a shared disk
_LOOK_EVERY_S = 0.5
_HEALTH_EVERY_S = 10.0
_ANSWER_S = 30.0  # a busy server answers late
_SILENCE_S = 120.0
"""A server that is not healthy for so long is ended, and started again."""
_STOP_S = 30.0  # more than `server_process` gives it
_LOG = logging.getLogger(__name__)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class _Server:
    """One server's process. It keeps its port when it is started again."""

    def __init__(self, program: ServerProgram, log: Path) -> None:
        port = _free_port()
        self._command = [*program.command, "--port", str(port)]
        self._environment, self.log = program.environment, log
        root = f"http://127.0.0.1:{port}"
        self.url, self._health = f"{root}/v1", f"{root}{program.health}"
        self._child: Child | None = None
        self._end: asyncio.Task[Any] | None = None

    async def start(self) -> None:
        """Start it, and wait until it is healthy.

        Raises:
            EngineFailed: it ended before, or takes too long.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            log.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(self._command)}\n")
        self._child = await Child.start("sand_dagster.models.server_process", "model server")
        asked = self._child.ask(
            "serve", command=self._command, environment=self._environment, log=str(self.log)
        )
        self._end = asyncio.create_task(asked)
        until = time.monotonic() + _START_S
        while not await self.healthy():
            if (ended := self.ended()) is not None:
                raise EngineFailed(f"a model server did not start: {ended}\nIts whole log: {self.log}")
            if time.monotonic() > until:
                await self.stop()
                raise EngineFailed(
                    f"the model server at {self.url} did not answer within {_START_S:.0f} s. "
                    f"Its log: {self.log}"
                )
            await asyncio.sleep(_LOOK_EVERY_S)

    def ended(self) -> str | None:
        """How it ended; None while it runs."""
        assert self._end is not None
        if not self._end.done():
            return None
        error = self._end.exception()
        return str(error) if isinstance(error, ChildDied) else repr(error)

    async def healthy(self) -> bool:
        """Whether it says that it can answer requests."""
        return await asyncio.to_thread(_is_healthy, self._health)

    def kill(self, reason: str) -> None:
        """End it now; `ended` then says why."""
        assert self._child is not None
        self._child.kill(reason)

    async def stop(self) -> None:
        """End it with all that it started. Idempotent."""
        if self._child is not None:
            await self._child.stop(_STOP_S)
        if self._end is not None:
            self._end.cancel()
            await asyncio.wait([self._end])
            self._end.cancelled() or self._end.exception()  # retrieved, so that asyncio does not report it


class LocalServers:
    """Servers of one model. See `Serving`.

    A server that ends, or is not healthy for two minutes, is started again once. They end with `close`, and
    when this process ends for any reason.
    """

    def __init__(self, name: str, servers: Sequence[_Server]) -> None:
        self.name, self._servers = name, servers
        self.urls = tuple(server.url for server in servers)
        self.version = None  # it is this environment's
        self._watching = [asyncio.create_task(self._watch(server)) for server in servers]

    @classmethod
    async def start(cls, name: str, programs: Sequence[ServerProgram], logs: Path) -> Self:
        """Start `programs`, which serve the model `name`.

        Raises:
            EngineFailed: a server does not start.
        """
        servers = [_Server(program, logs / f"{name}-{number}.log") for number, program in enumerate(programs)]
        starts = [asyncio.create_task(server.start()) for server in servers]
        try:
            await asyncio.gather(*starts)
        except BaseException:
            for start in starts:
                start.cancel()
            await asyncio.wait(starts)
            await asyncio.gather(*(server.stop() for server in servers))
            raise
        _LOG.warning(
            "The model %s is served at %s. Logs: %s",
            name,
            ", ".join(server.url for server in servers),
            ", ".join(str(server.log) for server in servers),
        )
        return cls(name, servers)

    async def lost(self) -> str:
        await asyncio.wait(self._watching)
        return "; ".join(watching.result() for watching in self._watching)

    async def close(self) -> None:
        for watching in self._watching:
            watching.cancel()
        await asyncio.wait(self._watching)
        await asyncio.gather(*(server.stop() for server in self._servers))

    async def _watch(self, server: _Server) -> str:
        """Start it again if it ends; returns the reason when it ended too often."""
        restarts = 0
        while True:
            ended = await _end_of(server)
            if restarts == _RESTARTS:
                _LOG.warning("The model server %s ended again, and is not restarted: %s", server.url, ended)
                return ended
            restarts += 1
            _LOG.warning("The model server %s ended, and is started again: %s", server.url, ended)
            await server.stop()
            try:
                await server.start()
            except EngineFailed as error:
                _LOG.warning("The model server %s could not be restarted: %s", server.url, error)
                return str(error)


async def _end_of(server: _Server) -> str:
    """Wait until it ends; one that is not healthy for too long is ended."""
    healthy_at = looked_at = time.monotonic()
    while (ended := server.ended()) is None:
        await asyncio.sleep(_LOOK_EVERY_S)
        if time.monotonic() - looked_at >= _HEALTH_EVERY_S:
            healthy = await server.healthy()
            looked_at = time.monotonic()
            if healthy:
                healthy_at = looked_at
            elif looked_at - healthy_at >= _SILENCE_S:
                server.kill(f"it was not healthy for {looked_at - healthy_at:.0f} s")
    return ended


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_healthy(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=_ANSWER_S) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
