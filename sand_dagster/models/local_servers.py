"""Model servers on this machine: vLLM's own, one for each copy of a model, restarted once if it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from sand_dagster.execution.child import Child, ChildDied
from sand_dagster.models.cards import cards
from sand_dagster.models.driver import EngineFailed
from sand_dagster.models.model_folder import context_length
from sand_dagster.models.settings import GenerationSettings

MODULE = "vllm.entrypoints.openai.api_server"
"""What `vllm serve` runs. The command itself does not start with the CPU build's distribution."""

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # the model is a folder
    "VLLM_NO_USAGE_STATS": "1",
    # The environments' workers and other servers need the cores too.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
}
_GPU_PREFILL_TOKENS = 8192
"""Of one step. On many cards vLLM's server has 2,048, so that users get a first token soon."""
_RESTARTS = 1
_START_S = 1800.0  # a large model is read from a shared disk
_LOOK_EVERY_S = 0.5
_HEALTH_EVERY_S = 10.0
_ANSWER_S = 30.0  # a busy server answers late
_SILENCE_S = 120.0
"""A server that is not healthy for so long is ended, and started again."""
_LOG = logging.getLogger(__name__)
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class _Server:
    """One server's process. It keeps its port when it is started again."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._port = _free_port()
        self._command = [*command, "--port", str(self._port)]
        self._environment, self.log = dict(environment), log
        self._root = f"http://127.0.0.1:{self._port}"
        self.url = f"{self._root}/v1"
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
        return await asyncio.to_thread(_is_healthy, f"{self._root}/health")

    def kill(self, reason: str) -> None:
        """End it now; `ended` then says why."""
        assert self._child is not None
        self._child.kill(reason)

    async def stop(self) -> None:
        """End it with all that it started. Idempotent."""
        if self._child is not None:
            self._child.kill()
            await self._child.stop()
        if self._end is not None:
            self._end.cancel()
            await asyncio.wait([self._end])
            self._end.cancelled() or self._end.exception()  # retrieved, so that asyncio does not report it


class LocalServers:
    """Servers of one model, each with a copy. See `Serving`.

    A server that ends, or is not healthy for two minutes, is started again once. They end with `close`, and
    when this process ends for any reason.
    """

    def __init__(self, name: str, servers: Sequence[_Server]) -> None:
        self.name, self._servers = name, servers
        self.urls = tuple(server.url for server in servers)
        self.version = None  # it is this environment's
        self._watching = [asyncio.create_task(self._watch(server)) for server in servers]

    @classmethod
    async def start(
        cls, folder: Path, name: str, settings: GenerationSettings, copies: int, logs: Path
    ) -> Self:
        """Serve the model in `folder` as `name`, on all GPUs or with `copies` servers on the CPU.

        Raises:
            EngineFailed: a server does not start. DoesNotFit: the model does not fit on the GPUs.
        """
        servers = [
            _Server(command, environment, logs / f"{name}-{number}.log")
            for number, (command, environment) in enumerate(_commands(folder, name, settings, copies))
        ]
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


def _commands(
    folder: Path, name: str, settings: GenerationSettings, copies: int
) -> list[tuple[list[str], dict[str, str]]]:
    """The command, apart from the port, and the environment of each server."""
    from sand_dagster.models import vllm_engine

    context = settings.max_model_len or context_length(folder)
    arguments = vllm_engine.engine_arguments(folder, context, settings)
    variables: list[dict[str, str]]
    if vllm_engine.on_cpu():
        copies = copies or 1
        arguments["kv_cache_memory_bytes"] //= copies
        cores = len(os.sched_getaffinity(0))
        variables = [{"OMP_NUM_THREADS": str(max(1, cores // copies))}] * copies
    else:
        found = cards()
        spread = vllm_engine.spread_over(found, folder, context, settings)
        arguments["tensor_parallel_size"] = size = spread.tensor_parallel_size
        arguments["max_num_batched_tokens"] = _GPU_PREFILL_TOKENS
        groups = [found[first : first + size] for first in range(0, spread.cards, size)]
        variables = [{"CUDA_VISIBLE_DEVICES": ",".join(card.uuid for card in group)} for group in groups]
    command = [sys.executable, "-m", MODULE, "--served-model-name", name, "--host", "127.0.0.1"]
    command += ["--disable-uvicorn-access-log", "--enable-prompt-tokens-details"]
    for argument, value in arguments.items():
        command += _flag(argument, value)
    return [(command, _ENVIRONMENT | each) for each in variables]


def _flag(argument: str, value: object) -> list[str]:
    """An argument of vLLM's engine as one of the server's command."""
    flag = argument.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]


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
