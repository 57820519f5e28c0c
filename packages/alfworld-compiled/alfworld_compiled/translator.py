"""A lock for fast_downward's translator and textworld's parsers: they use global state, so one thread at a
time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_LOCK = RLock()


@contextmanager
def translator() -> Iterator[None]:
    """Hold this while `pddl2sas` or a parser of textworld runs. Restores `sys.argv`, which `pddl2sas`
    changes."""
    with _LOCK:
        arguments = sys.argv
        try:
            yield
        finally:
            sys.argv = arguments
