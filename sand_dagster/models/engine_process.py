"""A process with vLLM engines that completes its parent's requests, many at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import traceback
from dataclasses import asdict

from sand_dagster.execution.parent import PARENT_CHECK_S, Message, Parent
from sand_dagster.models.driver import Driver
from sand_dagster.models.in_process import InProcessEngine
from sand_dagster.scratch import remove_own
from sand_dagster.types import Sampling


class _Server:
    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._engines: dict[int, Driver] = {}
        self._tasks: dict[object, asyncio.Task[None]] = {}
        self._ended = asyncio.Event()

    async def serve(self) -> None:
        """Take requests until the parent has closed its end or is gone."""
        asyncio.get_running_loop().add_reader(self._parent.fileno(), self._receive)
        while not self._parent.gone:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PARENT_CHECK_S):
                    await self._ended.wait()
                    return

    def _receive(self) -> None:
        requests = self._parent.receive()
        if requests is None:
            asyncio.get_running_loop().remove_reader(self._parent.fileno())
            self._ended.set()
            return
        for request in requests:
            self._begin(request)

    def _begin(self, request: Message) -> None:
        """Start to work on a request; `cancel` ends another one."""
        if request["op"] == "cancel":
            if (cancelled := self._tasks.get(request["asked"])) is not None:
                cancelled.cancel()
            return
        task = asyncio.create_task(self._answer(request))
        key = request.get("id", task)
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key))

    async def _answer(self, request: Message) -> None:
        try:
            reply = await self._do(request)
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        self._parent.answer(request, reply)

    async def _do(self, request: Message) -> Message:
        number = request["engine"]
        match request["op"]:
            case "open":
                self._engines[number] = await InProcessEngine.start(request["arguments"], request["threads"])
            case "generate":
                sampling = Sampling(**{**request["sampling"], "stop": tuple(request["sampling"]["stop"])})
                return asdict(await self._engines[number].generate(request["prompt"], sampling))
            case "reset_prefix_cache":
                await self._engines[number].reset_prefix_cache()
            case "close":
                if (engine := self._engines.pop(number, None)) is not None:
                    engine.close()
            case other:
                raise ValueError(
                    f"an engine's process knows open, generate, reset_prefix_cache and close, not {other!r}"
                )
        return {}


def main() -> None:
    """Serve until the parent is done."""
    parent = Parent()
    status = 0
    try:
        asyncio.run(_Server(parent).serve())
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    remove_own()
    # The parent is gone, so there is no reason to end the engine in an orderly way.
    os._exit(status)


if __name__ == "__main__":
    main()
