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


def this_process() -> str:
    """This process, as `pid:start time`: told apart from a later one with the same number."""
    return _process(os.getpid()) or str(os.getpid())


def lives(process: str) -> bool:
    """Whether the process that `this_process` named is still there."""
    number = process.split(":")[0]
    return number.isdigit() and _process(int(number)) == process


def _process(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended. The 22nd field, counted after the parenthesised name that may hold spaces, is the
    # start time in ticks.
    return None if fields[0] == "Z" else f"{pid}:{fields[19]}"
