"""One event loop for everything asynchronous, on its own thread.

Dagster's steps are ordinary functions that run one after another in one process. Engines, sockets and the
pool of environments belong to the loop that they were made on, and live longer than a step. So every step
runs its coroutines on this loop instead of making a new one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop on a daemon thread, started at first use."""

    def __init__(self, name: str = "sand-loop") -> None:
        self._name = name
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` to its end on the loop and return its result.

        An exception here while it runs (an interrupt from the keyboard or from Dagster) cancels it; this then
        waits until its clean-up is done.

        Raises:
            RuntimeError: called on the loop itself, where waiting would never end.
        """
        loop = self._started()
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("run() was called on the event loop's own thread: await the coroutine instead")
        outcome: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            task = loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(lambda done: _hand_over(done, outcome))

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # the exception came before the loop knew of it
                coroutine.close()
                outcome.set_exception(asyncio.CancelledError())

        try:
            loop.call_soon_threadsafe(start)
            return outcome.result()
        except BaseException:
            if not outcome.done():
                loop.call_soon_threadsafe(cancel)
                wait([outcome])
            raise

    def stop(self) -> None:
        """End the loop and its thread. The next `run` starts a new one. Idempotent."""
        with self._guard:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
                self._thread.start()
            return self._loop


def _hand_over(task: asyncio.Task[T], outcome: Future[T]) -> None:
    if task.cancelled():
        outcome.set_exception(asyncio.CancelledError())
        return
    error = task.exception()
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
