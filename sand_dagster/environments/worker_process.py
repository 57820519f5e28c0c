"""One worker process as its parent sees it: started, asked, death_counted, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from itertools import count
from pathlib import Path
from typing import Self

from sand_dagster.execution.wire import LENGTH, Message, pack
from sand_dagster.interfaces import EnvironmentDied, ReplayMismatch

_STDERR_BYTES = 4096
_STDERR_LINES = 15
_GRACE_S = 5.0
_START_S = 120.0


class EnvironmentFailed(Exception):
    """The environment raised an error; `worker_traceback` is where, in the worker process."""

    def __init__(self, task_id: str, message: str, worker_traceback: str) -> None:
        super().__init__(f"task {task_id}: {message}\n\nIn the worker process:\n{worker_traceback}")
        self.task_id, self.worker_traceback = task_id, worker_traceback


class WorkerProcess:
    """A running `sand_dagster.environments.worker`. Made by `start`, ended by `stop`."""

    def __init__(self, process: Process, silence_s: float) -> None:
        self._process, self._silence_s = process, silence_s
        self._ids = count()
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._asked_at = 0.0
        self._stderr = b""
        self._end = ""
        self._stopping = False
        self._stderr_reader = asyncio.create_task(self._read_stderr())
        self._reader: asyncio.Task[None] | None = None
        self.exclusive = False
        self.episodes = 0
        """Episodes that the pool has open here."""
        self.counts: dict[str, int] = {"rss": 0, "resets": 0, "forks": 0, "replayed": 0}
        """What the worker last said of itself."""
        self.death_counted = False
        """Whether the pool has counted its death."""

    @classmethod
    async def start(cls, kind: str, options: str, home: Path, silence_s: float) -> Self:
        """Start a worker for `kind` with `options` (JSON) and wait until it is ready.

        Raises:
            RuntimeError: it could not start; the message holds what it wrote to standard error.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sand_dagster.environments.worker",
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            # A group of its own: Ctrl-C reaches the parent alone, and what the worker starts ends with it.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        worker = cls(process, silence_s)
        try:
            worker._write({"kind": kind, "options": options, "home": str(home)})
            async with asyncio.timeout(max(silence_s, _START_S)):
                hello = await worker._read_body(await worker._read_length())
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
            await worker._bury()
            raise RuntimeError(
                f"a worker for the environment {kind!r} could not start: {worker._end}"
            ) from error
        except BaseException:
            await worker._bury()
            raise
        worker.exclusive = hello["exclusive"]
        worker._reader = asyncio.create_task(worker._read_replies())
        return worker

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return not self._end and not self._stopping

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, task_id: str, op: str, **fields: object) -> Message:
        """Send one request and wait for its answer.

        Raises:
            ReplayMismatch, EnvironmentDied, EnvironmentFailed: as the worker says.
            EnvironmentDied: the worker ended.
        """
        if not self.alive:
            raise EnvironmentDied(f"task {task_id}: {self._end or 'the pool was closed'}")
        key = next(self._ids)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Message] = loop.create_future()
        self._pending[key] = future
        if len(self._pending) == 1:
            self._asked_at = loop.time()
        try:
            # A broken pipe is reported by the reader, with the exit status.
            with contextlib.suppress(ConnectionError):
                self._write({"id": key, "op": op, **fields})
            reply = await future
        except EnvironmentDied as error:
            raise EnvironmentDied(f"task {task_id}: {error}") from None
        finally:
            self._pending.pop(key, None)
        match reply.get("error"):
            case None:
                return reply
            case "mismatch":
                raise ReplayMismatch(
                    task_id, reply["index"], reply["action"], reply["expected"], reply["found"]
                )
            case "died":
                raise EnvironmentDied(f"task {task_id}: {reply['message']}")
            case _:
                raise EnvironmentFailed(task_id, reply["message"], reply["traceback"])

    def tell(self, op: str, **fields: object) -> None:
        """Send a request whose answer nobody waits for."""
        if self.alive:
            with contextlib.suppress(ConnectionError):
                self._write({"id": next(self._ids), "op": op, **fields})

    async def stop(self) -> None:
        """End the process: it is asked by the end of its input, then killed with all that it started."""
        self._stopping = True
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
            async with asyncio.timeout(_GRACE_S):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            await self._bury()

    def _write(self, message: Message) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(pack(message))

    async def _read_length(self) -> int:
        assert self._process.stdout is not None
        length: int = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))[0]
        return length

    async def _read_body(self, length: int) -> Message:
        assert self._process.stdout is not None
        message: Message = json.loads(await self._process.stdout.readexactly(length))
        return message

    async def _read_replies(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                # Only the length may time out: it is then still unread, so no message is torn.
                async with asyncio.timeout(self._silence_s):
                    length = await self._read_length()
                reply = await self._read_body(length)
            except TimeoutError:
                if self._pending and loop.time() - self._asked_at >= self._silence_s:
                    await self._bury(f"it answered nothing for {self._silence_s:.0f} s and was killed")
                    return
                continue
            except (asyncio.IncompleteReadError, ConnectionError):
                await self._bury()
                return
            self._asked_at = loop.time()
            if "rss" in reply:
                self.counts = {name: reply[name] for name in self.counts}
            future = self._pending.get(reply["id"])
            if future is not None and not future.done():
                future.set_result(reply)

    async def _bury(self, reason: str = "") -> None:
        """Make sure that it is dead, say how it ended, and tell everyone who waits for an answer."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = await self._process.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._stderr_reader), 1.0)
        self._stderr_reader.cancel()
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()
        if not self._end:
            said = b"\n".join(self._stderr.splitlines()[-_STDERR_LINES:]).decode(errors="replace").strip()
            self._end = (
                f"the worker process {self._process.pid} ended with {_describe(status)}"
                + (f": {reason}" if reason else "")
                + (f". Its last lines on standard error:\n{said}" if said else ".")
            )
        for future in self._pending.values():
            if not future.done():
                future.set_exception(EnvironmentDied(self._end))

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(_STDERR_BYTES):
            self._stderr = (self._stderr + chunk)[-_STDERR_BYTES:]


def _describe(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
