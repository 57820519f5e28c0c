"""Coroutines of many stages on one loop."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from sand_dagster.models.loop import LoopThread


def test_all_runs_share_one_loop_and_errors_come_through() -> None:
    thread = LoopThread()

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def fail() -> None:
        raise LookupError("no such game")

    assert thread.run(loop()) is thread.run(loop())
    with pytest.raises(LookupError, match="no such game"):
        thread.run(fail())
    thread.stop()
    thread.stop()


def test_an_interrupt_cancels_and_waits_for_the_clean_up() -> None:
    thread = LoopThread()
    cleaned: list[bool] = []

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        thread.run(work())
    assert cleaned == [True]
    thread.stop()


def test_waiting_on_the_loop_itself_is_refused() -> None:
    thread = LoopThread()

    async def outer() -> None:
        thread.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="await the coroutine instead"):
        thread.run(outer())
    thread.stop()
