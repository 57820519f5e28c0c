"""Files that are written completely or not at all."""

from __future__ import annotations

import errno
import os
import shutil
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
        _sync(temporary)
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


def write_folder(folder: Path, write: Callable[[Path], T]) -> T:
    """Let `write` fill a temporary folder beside `folder`, make it durable, and give it its name.

    What an earlier attempt that was killed left there is removed first. Returns the result of `write`.

    Raises:
        FileExistsError: there is a file or folder of that name.
        DiskFull: there was no space; nothing was left behind.
    """
    if os.path.lexists(folder):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))
    temporary = folder.with_name(f"{folder.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        written = write(temporary)
        for path in temporary.rglob("*"):
            _sync(path)
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
        return written
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_disk_full(error):
            raise DiskFull(folder) from error
        raise


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
