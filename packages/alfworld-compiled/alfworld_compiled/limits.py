"""Bounds on the time and memory that compiling a stranger's game may take, kept by the operating system."""

from __future__ import annotations

import gc
import math
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MAX_SECONDS = 300.0
MAX_BYTES = 3 * 2**30
"""What compiling a game may take of processor time and of memory. The largest published one takes 1 s."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Processor time in seconds, and bytes of memory beside what the process has already."""

    seconds: float = MAX_SECONDS
    bytes: int = MAX_BYTES

    @property
    def construct(self) -> str:
        """What a game that goes beyond them is refused for."""
        return f"a game that takes more than {self.seconds:.0f} s or {self.bytes / 2**30:.1f} GiB to ground"


def limit_this_process(limits: Limits) -> None:
    """Bound what this process takes from now on, counted anew at each call.

    Beyond the time it is ended by SIGXCPU, to the second; beyond the memory Python raises `MemoryError`, and
    native code may end the process. macOS keeps the first alone.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(usage.ru_utime + usage.ru_stime + limits.seconds)
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        _lower(resource.RLIMIT_AS, _address_space() + limits.bytes)


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


def _lower(what: int, value: int) -> None:
    """Set a soft limit, never above the hard one."""
    _, hard = resource.getrlimit(what)
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _address_space() -> int:
    """The bytes of address space that this process has, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
