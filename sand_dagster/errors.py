"""Errors of stored data, with messages for the person who has to act."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import polars as pl

NO_FOLDER, NO_FILE = "found a file, expected a folder", "found a folder, expected a file"
LEADS_TO_ITSELF = "a symbolic link that leads to itself"


class ArtifactError(Exception):
    """A problem of stored data that a person can solve; the message says how."""


class MissingArtifact(ArtifactError):
    """A partition is not complete: it was never materialised, or a run ended before its manifest."""

    def __init__(self, experiment: str, table: str, iteration: str | None, folder: Path) -> None:
        partition = f" for iteration {iteration}" if iteration else ""
        super().__init__(
            f"experiment {experiment}: {table}{partition} is not there (no manifest in {folder}). "
            f"Materialise the asset {experiment}/{table}{partition} first."
        )
        self.experiment, self.table, self.iteration = experiment, table, iteration


class TornArtifact(ArtifactError):
    """A file does not hold what its manifest says."""

    def __init__(self, file: Path, expected: str, found: str) -> None:
        super().__init__(
            f"{file} is damaged: expected {expected}, found {found}. "
            "Materialise its asset again; finished units are taken from the journal beside it."
        )
        self.file, self.expected, self.found = file, expected, found


class TornModel(ArtifactError):
    """A model's folder does not hold the model that was recorded."""

    def __init__(self, folder: Path, recorded_by: str, expected: str, found: str, remedy: str) -> None:
        super().__init__(
            f"the model in {folder} is damaged: {recorded_by} recorded the content {expected}, "
            f"found {found}. {remedy}"
        )
        self.folder = folder


class OldLayout(ArtifactError):
    """An experiment's tables were made by a version with other names and identities."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} holds tables of an earlier version of this project, which this version cannot check. "
            f"Move the folder away (mv {folder} {folder}.old) or set another $SAND_HOME; "
            f"`sand run {folder.name}` then makes the tables again."
        )


class PartitionBusy(ArtifactError):
    """Another process is writing the same partition."""


class ExperimentBusy(ArtifactError):
    """Another process is running the same experiment."""


class InstanceError(ArtifactError):
    """Dagster's own records or settings below `$SAND_HOME` cannot be used; the message says what to do."""


class SettingError(ValueError):
    """An environment variable does not fit the setting that it is for; the message names it."""


class DiskFull(ArtifactError):
    """A file could not be written because the disk is full. What was journalled before is kept."""

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"no space left on the disk while writing {file}. Free some space and materialise the asset "
            "again; finished units are kept in the journal beside it."
        )
        self.file = file


def is_disk_full(error: BaseException) -> bool:
    """Whether `error` means that the disk, or the user's quota, is full.

    Polars wraps the system's error in its own error, which keeps only the text.
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, pl.exceptions.PolarsError) and "No space left on device" in str(error)


def in_the_way(path: Path) -> Path:
    """The file where `path` needs a folder; `path` itself if there is none."""
    return next((parent for parent in path.parents if parent.exists() and not parent.is_dir()), path)


def explain_os_error(error: OSError) -> str:
    """What the system refused, and what to do about it, in one or two sentences."""
    file = error.filename or "a file"
    place = "set SAND_HOME to another folder"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return (
                f"no space left on the disk for {file}. Free some space and run the command again; finished "
                "work is kept"
            )
        case errno.EROFS:
            return f"{file} is on a read-only disk. Make it writable, or {place}"
        case errno.EACCES | errno.EPERM:
            return f"no permission for {file}. Give user {os.getuid()} the permission, or {place}"
        case errno.ENOTDIR:
            return f"{in_the_way(Path(file))}: {NO_FOLDER}. Move the file away, or {place}"
        case errno.ELOOP:
            return f"{file} is {LEADS_TO_ITSELF}. Remove it"
        case errno.EEXIST:
            return f"{file}: {NO_FOLDER}. Move the file away, or {place}"
        case errno.EISDIR:
            return f"{file}: {NO_FILE}. Move the folder away"
        case errno.EFBIG:
            return f"{file} has reached the limit on file sizes: raise the limit (ulimit -f)"
        case errno.EMFILE | errno.ENFILE:
            return "too many files are open: raise the limit (ulimit -n)"
        case errno.EIO:
            return f"the disk failed on {file}. Check the disk; `sand verify` then lists damaged files"
        case _:
            return f"{file}: {error.strerror or error}"
