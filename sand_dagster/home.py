"""Where everything is kept: `$SAND_HOME`, which several processes may use."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock


def sand_home() -> Path:
    """`$SAND_HOME`, by default `.sand` in the working directory, as an absolute path. It need not exist."""
    return Path(os.environ.get("SAND_HOME") or ".sand").expanduser().absolute()


def locked(folder: Path) -> FileLock:
    """A context manager that lets one process at a time set up `folder`; the lock ends with its process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_name(f"{folder.name}.lock"))
