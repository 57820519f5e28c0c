"""Files that are written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sand_dagster.errors import DiskFull, is_disk_full

T = TypeVar("T")


def write_whole(
    path: Path, write: Callable[[Path], T], before_replacing: Callable[[], None] = lambda: None
) -> T:
    """Let `write` fill a temporary file beside `path`, make it durable, and put it in `path`'s place.

    `before_replacing` is called when the new file is durable and the old one is still there. Returns the
    result of `write`; if anything raises, `path` is as it was.

    Raises:
        DiskFull: there was no space; `path` is as it was.
    """
    temporary = path.with_name(f"{path.name}.writing")
    try:
        written = write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        before_replacing()
        temporary.replace(path)
        sync_folder(path.parent)
        return written
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if is_disk_full(error):
            raise DiskFull(path) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` completely or not at all.

    Raises:
        DiskFull: there was no space; `path` is as it was.
    """
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def remove(path: Path) -> None:
    """Remove `path`, if it is there, durably."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
