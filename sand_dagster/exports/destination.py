"""Where an export goes: a path that is not taken, filled completely or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sand_dagster.errors import ArtifactError, DiskFull

T = TypeVar("T")


class ExportError(ArtifactError):
    """Something cannot be exported there, or not in this format. The message says what to do."""


def export_to(path: Path, write: Callable[[Path], T]) -> T:
    """Let `write` write `path`, whose folder is made if there is none. Returns its result.

    Raises:
        ExportError: there is something at `path` already, or it cannot be written.
    """
    if path.is_symlink() or path.exists():
        what = "folder" if path.is_dir() else "file"
        raise ExportError(f"{path} is there already. Give another --out, or move that {what} away")
    new = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write(path)
    except BaseException as error:
        for folder in new:
            with suppress(OSError):  # it was not made, or is not empty
                folder.rmdir()
        _explain(path, error)
        raise


def _explain(path: Path, error: BaseException) -> None:
    """Raise an `ExportError` for what a person can mend."""
    if isinstance(error, DiskFull):
        raise ExportError(
            f"no space left on the disk for {path}; nothing was left there. Free some space, or give another "
            "--out, and export again"
        ) from error
    if isinstance(error, FileExistsError | NotADirectoryError):
        raise ExportError(
            f"{path} cannot be written: {error.filename or path.parent} is there, and is not a folder. Give "
            "another --out"
        ) from error
    if isinstance(error, PermissionError):
        raise ExportError(
            f"{path} cannot be written: no permission for {error.filename or path.parent}. Give another --out"
        ) from error
