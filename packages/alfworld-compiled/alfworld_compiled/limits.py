"""Limits on time and memory for compiling an untrusted game, enforced by the operating system."""

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
"""Limits of processor time and memory for compiling a game. The largest published one takes 1 s."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Processor time in seconds, and bytes of memory in addition to what the process already has."""

    seconds: float = MAX_SECONDS
    bytes: int = MAX_BYTES

    @property
    def construct(self) -> str:
        """The reason for refusing a game that exceeds them."""
        return f"a game that takes more than {self.seconds:.0f} s or {self.bytes / 2**30:.1f} GiB to ground"


def limit_this_process(limits: Limits) -> None:
    """Limit the time and memory of this process from now on; each call starts the count again.

    Above the time, SIGXCPU ends the process, exact to the second. Above the memory, Python raises
    `MemoryError`, and native code may end the process. macOS enforces only the time.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(usage.ru_utime + usage.ru_stime + limits.seconds)
    _lower(resource.RLIMIT_CPU, seconds)
    _lower(resource.RLIMIT_CORE, 0)
    if sys.platform == "linux":
        _lower(resource.RLIMIT_AS, _address_space() + limits.bytes)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Switch off the cyclic garbage collector, which takes a third of the time on the translator's many
    objects."""
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
