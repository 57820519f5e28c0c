"""fast_downward's translator and textworld's parsers are global to a process: one thread at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_LOCK = RLock()


@contextmanager
def translator() -> Iterator[None]:
    """Hold while `pddl2sas` or a parser of textworld's runs. Restores `sys.argv`, which the former spoils."""
    with _LOCK:
        arguments = sys.argv
        try:
            yield
        finally:
            sys.argv = arguments
