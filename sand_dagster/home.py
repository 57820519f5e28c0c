"""Where everything is kept: `$SAND_HOME`, which several processes may use."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sand_home() -> Path:
    """`$SAND_HOME`, by default `.sand` in the working directory, as an absolute path. It need not exist."""
    return Path(os.environ.get("SAND_HOME") or ".sand").expanduser().absolute()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from setting up `folder` too; the lock goes with the process that holds it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
