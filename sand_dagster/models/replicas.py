"""Copies of one engine, one process per core: with a small model, Python is as busy as torch.

A completion is determined by its prompt and seed, so it does not matter which copy completes it. Requests
that start the same go to the same copy, to use its prefix cache, as long as it is not much busier.
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

_BEGINNING = 128  # tokens; enough to distinguish tasks
_IMBALANCE = 6


_kept: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Child]] = WeakKeyDictionary()
"""The running processes, by the event loop that reads their answers. They are kept for later engines, because
most of the start time is the import of vLLM."""
_numbers = count()


def any_kept() -> bool:
    """Whether there are running processes."""
    return any(_kept.values())


async def end_kept() -> None:
    """End the processes that were started on this loop, and remove their temporary files."""
    await asyncio.gather(*(process.stop() for process in _kept.pop(asyncio.get_running_loop(), [])))


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
        least_busy = min(range(len(self._load)), key=self._load.__getitem__)
        return at_home if self._load[at_home] <= self._load[least_busy] + _IMBALANCE else least_busy

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
            else:  # the others are still working; closing an engine during that damages the next one
                process.kill("another copy of its engine had ended")


async def _ask(process: Child, op: str, **fields: Any) -> Message:
    try:
        reply = await process.ask(op, **fields)
    except ChildDied as error:
        raise EngineFailed(str(error)) from None
    if "error" in reply:
        raise EngineFailed(reply["error"])
    return reply
