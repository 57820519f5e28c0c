"""A bound on the time and memory that compiling a stranger's game may take."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread, get_ident

from alfworld_compiled.refusal import UnsupportedGame

_POLL_S = 0.05
_UNIT = 1 if sys.platform == "darwin" else 1024


class _OverLimit(BaseException):
    """Not an Exception, so that no handler of the libraries takes it."""


@contextmanager
def limited(seconds: float, memory: int) -> Iterator[None]:
    """Run pure Python code that ends with `UnsupportedGame` once it took `seconds`, or `memory` bytes more.

    A second thread watches, and raises the error in this one: nothing in the translator could be asked to
    stop.
    """
    finished, over = Event(), Event()
    worker, start, peak = get_ident(), time.monotonic(), _peak()

    def watch() -> None:
        while not finished.wait(_POLL_S):
            if time.monotonic() - start > seconds or _peak() - peak > memory:
                over.set()
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(worker), ctypes.py_object(_OverLimit)
                )
                return

    watcher = Thread(target=watch, daemon=True, name="compile-limits")
    watcher.start()
    try:
        try:
            yield
        finally:
            finished.set()
            watcher.join()
    except _OverLimit:
        pass
    if over.is_set():
        raise UnsupportedGame(
            f"a game that takes more than {seconds:.0f} s or {memory / 2**30:.1f} GiB to ground"
        )


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without the cyclic garbage collector, whose passes over the translator's many objects cost a third."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _peak() -> int:
    """The most memory, in bytes, that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
