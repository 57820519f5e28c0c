"""Where everything is kept: `$SAND_HOME`, which several processes may use."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock


def sand_home() -> Path:
    """`$SAND_HOME`, by default `.sand` in the working directory, as an absolute path. It need not exist."""
    return Path(os.environ.get("SAND_HOME") or ".sand").expanduser().absolute()


def stays_inside(path: str) -> bool:
    """Whether a path that a file names stays below the folder that it is relative to."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def locked(folder: Path) -> FileLock:
    """A context manager that lets one process at a time set up `folder`; the lock ends with its process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f"{folder.name}.lock"))


def this_process() -> str:
    """This process, as `pid:start time`, so that a later process with the same number differs."""
    return process_name(os.getpid()) or str(os.getpid())


def lives(process: str) -> bool:
    """Whether the process that `this_process` named is still there."""
    number = process.split(":")[0]
    return number.isdigit() and process_name(int(number)) == process


def process_name(pid: int) -> str | None:
    """The process `pid`, named as by `this_process`; None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended. The 22nd field is the start time in ticks; it is counted after the name in
    # parentheses, which may contain spaces.
    return None if fields[0] == "Z" else f"{pid}:{fields[19]}"
