"""Copies of one engine in processes of their own, a core each: a small model keeps Python as busy as torch.

Each request is determined by its prompt and seed, so it does not matter which copy completes it. Requests
that begin alike go to the same one, whose prefix cache then serves them, as long as it is not far busier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from typing import Any, Self
from weakref import WeakKeyDictionary

from sand_dagster.execution.child import Child, ChildDied
from sand_dagster.execution.parent import Message
from sand_dagster.ids import digest
from sand_dagster.models.driver import EngineFailed, Sampled
from sand_dagster.types import Sampling

_BEGINNING = 128  # tokens; enough to tell tasks apart
_IMBALANCE = 6


_kept: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Child]] = WeakKeyDictionary()
"""The processes that run, by the event loop that reads their answers; kept for the engines to come, as most
of a start is importing vLLM."""
_numbers = count()


class Replicas:
    """See `Driver`."""

    def __init__(self, number: int, processes: Sequence[Child]) -> None:
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
            kept.append(await Child.start("sand_dagster.models.engine_process", "engine"))
        driver = cls(next(_numbers), kept[:replicas])
        try:
            await asyncio.gather(
                *(
                    _ask(process, "open", engine=driver._number, arguments=arguments, threads=threads)
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
            reply = await _ask(
                self._processes[chosen],
                "generate",
                engine=self._number,
                prompt=prompt,
                sampling=asdict(sampling),
            )
        finally:
            self._load[chosen] -= 1
        return Sampled(**reply)

    def _choose(self, prompt: list[int]) -> int:
        at_home = int(digest(prompt[:_BEGINNING])[:8], 16) % len(self._load)
        idlest = min(range(len(self._load)), key=self._load.__getitem__)
        return at_home if self._load[at_home] <= self._load[idlest] + _IMBALANCE else idlest

    async def reset_prefix_cache(self) -> None:
        await asyncio.gather(
            *(_ask(process, "reset_prefix_cache", engine=self._number) for process in self._processes)
        )

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        all_alive = all(process.alive for process in self._processes)
        for process in self._processes:
            if all_alive:
                process.send("close", engine=self._number)
            else:  # the others still work on requests; an engine that is closed meanwhile spoils the next one
                process.kill("another copy of its engine had ended")


async def _ask(process: Child, op: str, **fields: Any) -> Message:
    try:
        reply = await process.ask(op, **fields)
    except ChildDied as error:
        raise EngineFailed(str(error)) from None
    if "error" in reply:
        raise EngineFailed(reply["error"])
    return reply
