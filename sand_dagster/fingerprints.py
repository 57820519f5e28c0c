"""Content hashes of files, cached until a file's size, place on the disk or time of change differs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sand_dagster.ids import digest

_SETTLED_NS = 100_000_000
"""Only so many nanoseconds after a change does a further change give other file times, because the clocks of
file systems advance in steps."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_digest(path: Path) -> str:
    """As `file_digest`, but a file that has not changed since it was last hashed is not read again."""
    return _remembered(path.parent, [path.name], lambda: file_digest(path))


def written_digest(path: Path) -> str:
    """As `file_digest`, of a file that this process has just written and no other process writes.

    It is remembered at once, so that the first reader does not hash the file again.
    """
    stamps, _ = _stamps(path.parent, [path.name])
    found = file_digest(path)
    _keep(_note(path.parent, [path.name]), {"stamps": stamps, "digest": found})
    return found


def remembered_finding(path: Path, what: str, look: Callable[[], str]) -> str:
    """What `look` says of a file, by the name `what`; it does not look again at one that has not changed."""
    return _remembered(path.parent, [path.name], look, what)


def content_digest(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 over the names, relative to `folder`, and the contents of `files` in it.

    Hashing 16 GB takes a minute, so the result is kept in the cache folder.
    """
    named = sorted((str(path.relative_to(folder)), path) for path in files)

    def hashed() -> str:
        return digest([(name, file_digest(path)) for name, path in named])

    return _remembered(folder, [name for name, _ in named], hashed)


def forget(folder: Path) -> None:
    """Hash the files of `folder` again the next time: a disk may change a file without changing its times."""
    shutil.rmtree(_notes(folder), ignore_errors=True)


def _remembered(folder: Path, names: list[str], hashed: Callable[[], str], what: str = "") -> str:
    """The result of `hashed` for the files `names` in `folder`, from the cache if they have not changed."""
    note = _note(folder, names, what)
    stamps, settled = _stamps(folder, names)
    kept = _read(note, stamps)
    if kept is not None:
        return kept
    found = hashed()
    if settled:
        _keep(note, {"stamps": stamps, "digest": found})
    return found


def _stamps(folder: Path, names: list[str]) -> tuple[str, bool]:
    """A value that changes if one of the files does, and whether a change from now on would also change it.

    It includes the time of change (ctime): unlike the time of modification, no program can set it.
    """
    stats = [(folder / name).stat() for name in names]
    last = max((stat.st_ctime_ns for stat in stats), default=0)
    stamps = [
        (name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        for name, stat in zip(names, stats, strict=True)
    ]
    return digest(stamps), time.time_ns() - last > _SETTLED_NS


def _read(note: Path, stamps: str) -> str | None:
    try:
        kept = json.loads(note.read_text())
        return str(kept["digest"]) if kept["stamps"] == stamps else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent or damaged: the files are hashed again and the note is replaced


def _keep(note: Path, content: dict[str, str]) -> None:
    """Write `note`, if that is possible: without it the files are only hashed again."""
    partial = note.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(content))
            partial.replace(note)
        except OSError:
            partial.unlink(missing_ok=True)


def _note(folder: Path, names: list[str], what: str = "") -> Path:
    return _notes(folder) / f"{digest([what, *names] if what else names)[:32]}.json"


def _notes(folder: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sand" / "digests" / digest(str(folder.resolve()))[:32]
