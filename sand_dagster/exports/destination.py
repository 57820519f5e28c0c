"""Where an export goes: a path that is not taken, filled completely or not at all."""

from __future__ import annotations

from collections.abc import Callable
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return write(path)
    except DiskFull as error:
        raise ExportError(
            f"no space left on the disk for {path}; nothing was left there. Free some space, or give another "
            "--out, and export again"
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise ExportError(
            f"{path} cannot be written: {error.filename or path.parent} is there, and is not a folder. Give "
            "another --out"
        ) from error
    except PermissionError as error:
        raise ExportError(
            f"{path} cannot be written: no permission for {error.filename or path.parent}. Give another --out"
        ) from error
