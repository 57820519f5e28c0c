"""The parent's side of a child process that answers requests. The child's side is `parent.Parent`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from itertools import count
from typing import Self

from sand_dagster.execution.parent import Message
from sand_dagster.scratch import scratch

_LONGEST_LINE = 1 << 26
"""One answer may have this many bytes."""

_STDERR_BYTES = 8192
_STDERR_LINES = 20
_GRACE_S = 5.0


class ChildDied(Exception):
    """The child process has ended; the message says how, with its last lines on standard error."""


class Child:
    """A running Python module that makes a `Parent` and answers requests, in any order.

    It is in its own process group: Ctrl-C reaches only the parent, and the processes that the child starts
    end with it. The child ends when its parent ends.
    """

    def __init__(self, process: Process, name: str, until_it_ends: contextlib.ExitStack) -> None:
        self._process, self._name, self._until_it_ends = process, name, until_it_ends
        self._ids = count()
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self.silence_s: float | None = None
        """It is killed if it does not answer a request for so long; None: never."""
        self._heard_at = 0.0
        self._silence_timer: asyncio.TimerHandle | None = None
        self._stderr = b""
        self._reason = ""
        self._end = ""
        self._stopping = False
        self._stderr_reader = asyncio.create_task(self._read_stderr())
        self._reader = asyncio.create_task(self._read_answers())

    @classmethod
    async def start(cls, module: str, name: str) -> Self:
        """Start `python -m module`; `name` is the process's name in messages."""
        with contextlib.ExitStack() as until_it_ends:
            temporary = until_it_ends.enter_context(scratch())
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=_LONGEST_LINE,
                start_new_session=True,
                env={**os.environ, **temporary, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            return cls(process, name, until_it_ends.pop_all())

    @property
    def alive(self) -> bool:
        """Whether it can still answer."""
        return not self._end and not self._stopping

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, op: str, **fields: object) -> Message:
        """Send the request `op` with `fields` and wait for the answer. If the wait is cancelled, the child
        gets the request `cancel`, in which `asked` is the `id` of the request to end.

        Raises:
            ChildDied: it has ended, or ended before it answered.
        """
        if not self.alive:
            stopped = f"the {self._name} process {self.pid} was stopped"
            raise ChildDied(self._end or (f"{stopped}: {self._reason}" if self._reason else stopped))
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._heard_at = loop.time()
            self._check_silence()
        key = next(self._ids)
        future: asyncio.Future[Message] = loop.create_future()
        self._waiting[key] = future
        self._write({"id": key, "op": op, **fields})
        try:
            return await future
        except asyncio.CancelledError:
            self.send("cancel", asked=key)
            raise
        finally:
            del self._waiting[key]
            if not self._waiting and self._silence_timer is not None:
                self._silence_timer.cancel()

    def send(self, op: str, **fields: object) -> None:
        """Send a request that has no answer."""
        if self.alive:
            self._write({"op": op, **fields})

    async def stop(self, grace_s: float = _GRACE_S) -> None:
        """Close its input; if it does not end in `grace_s`, kill it with all that it started. Idempotent."""
        self._stopping = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait([self._reader], timeout=grace_s)
        finally:
            self.kill()
            await asyncio.wait([self._reader])

    def kill(self, reason: str = "") -> None:
        """Kill it now, with all that it started. `reason` is part of the error of pending requests."""
        if self._end:
            return  # its number may be another process's by now
        self._reason = self._reason or reason
        self._stopping = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _write(self, message: Message) -> None:
        assert self._process.stdin is not None
        # The reader reports a broken pipe, with the exit status.
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")

    def _check_silence(self) -> None:
        """Kill it if it has been silent for too long, else check again later."""
        if self.silence_s is not None:
            loop = asyncio.get_running_loop()
            left = self._heard_at + self.silence_s - loop.time()
            if left > 0:
                self._silence_timer = loop.call_later(left, self._check_silence)
            else:
                self.kill(f"it answered nothing for {self.silence_s:.0f} s and was killed")

    async def _read_answers(self) -> None:
        assert self._process.stdout is not None
        loop = asyncio.get_running_loop()
        try:
            while line := await self._process.stdout.readline():
                answer = json.loads(line)
                self._heard_at = loop.time()
                future = self._waiting.get(answer.pop("id"))
                if future is not None and not future.done():
                    future.set_result(answer)
        except ValueError as error:
            self._reason = f"its answer could not be read ({error}), so it was killed"
        await self._ended()

    async def _ended(self) -> None:
        """Wait until it has ended, record how, and fail every request that waits for an answer."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.kill()
        status = await self._process.wait()
        self._until_it_ends.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stderr_reader, 1.0)
        last = b"\n".join(self._stderr.splitlines()[-_STDERR_LINES:]).decode(errors="replace").strip()
        self._end = (
            f"the {self._name} process {self.pid} ended with {_describe(status)}"
            + (f": {self._reason}" if self._reason else "")
            + (f". Its last lines on standard error:\n{last}" if last else ".")
        )
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ChildDied(self._end))

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(_STDERR_BYTES):
            self._stderr = (self._stderr + chunk)[-_STDERR_BYTES:]


def _describe(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
