"""Content hashes of files, remembered while no file has another size or time of change."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from sand_dagster.ids import digest


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 over the names, relative to `folder`, and the contents of `files` in it.

    Hashing 16 GB takes a minute, so the result is kept in the cache folder.
    """
    named = sorted((str(path.relative_to(folder)), path) for path in files)
    stamps = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in named]
    # The same folder may be asked for several sets of files.
    note = _cache_folder() / f"{digest(str(folder.resolve()), [name for name, _ in named])[:32]}.json"
    fresh = digest(stamps)
    remembered = _remembered(note, fresh)
    if remembered is not None:
        return remembered
    found = digest([(name, file_digest(path)) for name, path in named])
    note.parent.mkdir(parents=True, exist_ok=True)
    partial = note.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({"stamps": fresh, "digest": found}))
    partial.replace(note)
    return found


def _remembered(note: Path, stamps: str) -> str | None:
    try:
        kept = json.loads(note.read_text())
        return str(kept["digest"]) if kept["stamps"] == stamps else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent or damaged: hashed again and written anew


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sand" / "digests"
