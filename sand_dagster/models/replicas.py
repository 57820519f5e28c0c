"""Copies of one engine in processes of their own, a core each: a small model keeps Python as busy as torch.

Each request is determined by its prompt and seed, so it does not matter which copy completes it. Requests
that begin alike go to the same one, whose prefix cache then serves them, as long as it is not far busier.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from typing import Any, Self
from weakref import WeakKeyDictionary

from sand_dagster.ids import digest
from sand_dagster.models.driver import EngineFailed, Sampled
from sand_dagster.models.engine_process import LONGEST_LINE
from sand_dagster.types import Sampling

_STDERR_BYTES = 8192
_STDERR_LINES = 20
_BEGINNING = 128  # tokens; enough to tell tasks apart
_IMBALANCE = 6


class EngineProcess:
    """A running `engine_process`, kept for the engines to come: most of a start is importing vLLM."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ids = count()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._stderr = b""
        self._end = ""
        self._readers = [asyncio.create_task(self._read_replies()), asyncio.create_task(self._read_stderr())]

    @classmethod
    async def start(cls) -> Self:
        """Start one; it imports vLLM with its first engine."""
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sand_dagster.models.engine_process",
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=LONGEST_LINE,
                # Ctrl-C reaches the parent alone, which cancels what it asked for.
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        )

    @property
    def alive(self) -> bool:
        return not self._end

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End it now, with all engines in it."""
        self._end = (
            self._end or f"the engine's process {self.pid} was ended: another of its engine had failed"
        )
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ask(self, op: str, **fields: object) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Raises:
            EngineFailed: the engine says so, or the process ended.
        """
        if self._end:
            raise EngineFailed(self._end)
        key = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        self._tell({"id": key, "op": op, **fields})
        try:
            reply = await future
        except asyncio.CancelledError:
            self._tell({"id": key, "op": "drop"})
            raise
        finally:
            self._waiting.pop(key, None)
        if "error" in reply:
            raise EngineFailed(reply["error"])
        return reply

    def tell(self, op: str, **fields: object) -> None:
        """Send a request whose answer nobody waits for."""
        if not self._end:
            self._tell({"id": next(self._ids), "op": op, **fields})

    def _tell(self, message: dict[str, object]) -> None:
        assert self._process.stdin is not None
        # A broken pipe is reported by the reader, with the exit status.
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _read_replies(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            reply = json.loads(line)
            future = self._waiting.get(reply["id"])
            if future is not None and not future.done():
                future.set_result(reply)
        status = await self._process.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._readers[1]), 1.0)
        said = b"\n".join(self._stderr.splitlines()[-_STDERR_LINES:]).decode(errors="replace").strip()
        self._end = f"the engine's process {self._process.pid} ended with status {status}" + (
            f". Its last lines on standard error:\n{said}" if said else ""
        )
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EngineFailed(self._end))

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(_STDERR_BYTES):
            self._stderr = (self._stderr + chunk)[-_STDERR_BYTES:]


_kept: WeakKeyDictionary[asyncio.AbstractEventLoop, list[EngineProcess]] = WeakKeyDictionary()
"""The processes that run, by the event loop that reads their answers."""
_numbers = count()


class Replicas:
    """See `Driver`."""

    def __init__(self, number: int, processes: Sequence[EngineProcess]) -> None:
        self._number, self._processes = number, processes
        self._load = [0] * len(processes)
        self._closed = False

    @classmethod
    async def start(cls, arguments: dict[str, Any], replicas: int, threads: int) -> Self:
        """`replicas` engines with vLLM's `arguments`, of `threads` threads each.

        Raises:
            EngineFailed: one did not start.
        """
        kept = _kept.setdefault(asyncio.get_running_loop(), [])
        kept[:] = [process for process in kept if process.alive]
        while len(kept) < replicas:
            kept.append(await EngineProcess.start())
        driver = cls(next(_numbers), kept[:replicas])
        try:
            await asyncio.gather(
                *(
                    process.ask("open", engine=driver._number, arguments=arguments, threads=threads)
                    for process in driver._processes
                )
            )
        except BaseException:
            driver.close()
            raise
        return driver

    async def generate(self, prompt: list[int], sampling: Sampling) -> Sampled:
        if self._closed:
            raise EngineFailed("the engine was closed")
        chosen = self._choose(prompt)
        self._load[chosen] += 1
        try:
            reply = await self._processes[chosen].ask(
                "generate", engine=self._number, prompt=prompt, sampling=asdict(sampling)
            )
        finally:
            self._load[chosen] -= 1
        return Sampled(reply["text"], reply["tokens"], reply["cached"], reply["finish"])

    def _choose(self, prompt: list[int]) -> int:
        at_home = int(digest(prompt[:_BEGINNING])[:8], 16) % len(self._load)
        idlest = min(range(len(self._load)), key=self._load.__getitem__)
        return at_home if self._load[at_home] <= self._load[idlest] + _IMBALANCE else idlest

    async def forget(self) -> None:
        await asyncio.gather(*(process.ask("forget", engine=self._number) for process in self._processes))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        all_alive = all(process.alive for process in self._processes)
        for process in self._processes:
            if all_alive:
                process.tell("close", engine=self._number)
            else:  # the others still work on requests; an engine that is closed meanwhile spoils the next one
                process.kill()
