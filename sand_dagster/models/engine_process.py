"""A process that holds vLLM engines and completes what its parent asks of them.

Requests come as JSON lines on standard input, answers go as JSON lines to standard output, in whatever
order they are ready. It ends when its input does, so it cannot outlive its parent.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from typing import Any

from sand_dagster.models.driver import Driver
from sand_dagster.models.in_process import InProcessEngine
from sand_dagster.types import Sampling

LONGEST_LINE = 1 << 26
"""Bytes that one message may have."""


class _Server:
    def __init__(self, replies: int) -> None:
        self._replies = replies
        self._engines: dict[int, Driver] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def take(self, request: dict[str, Any]) -> None:
        """Begin to work on a request; `drop` ends another one."""
        if request["op"] == "drop":
            if (dropped := self._tasks.get(request["id"])) is not None:
                dropped.cancel()
            return
        task = asyncio.create_task(self._answer(request))
        self._tasks[request["id"]] = task
        task.add_done_callback(lambda _: self._tasks.pop(request["id"], None))

    async def _answer(self, request: dict[str, Any]) -> None:
        reply: dict[str, Any]
        try:
            reply = await self._do(request)
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        data = json.dumps({"id": request["id"], **reply}).encode() + b"\n"
        while data:
            data = data[os.write(self._replies, data) :]

    async def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        number = request["engine"]
        match request["op"]:
            case "open":
                self._engines[number] = await InProcessEngine.start(request["arguments"], request["threads"])
            case "generate":
                sampling = Sampling(**{**request["sampling"], "stop": tuple(request["sampling"]["stop"])})
                done = await self._engines[number].generate(request["prompt"], sampling)
                return {
                    "text": done.text,
                    "tokens": done.tokens,
                    "cached": done.cached,
                    "finish": done.finish,
                }
            case "forget":
                await self._engines[number].forget()
            case "close":
                if (engine := self._engines.pop(number, None)) is not None:
                    engine.close()
        return {}


async def _serve(replies: int, requests: int) -> None:
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(requests, "rb")
    )
    server = _Server(replies)
    while line := await reader.readline():
        server.take(json.loads(line))


def main() -> None:
    """Serve until the parent is done."""
    # What libraries print goes to standard error; they get neither end of the protocol.
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    try:
        asyncio.run(_serve(replies, requests))
    except (BrokenPipeError, KeyboardInterrupt):
        pass
    finally:
        # The parent is gone, and with it every reason to end an engine in good order.
        sys.stderr.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
