"""The journal of a stage: every finished unit of work is appended at once, so that a kill loses little."""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sand_dagster.errors import DiskFull, is_disk_full
from sand_dagster.files import write_whole

_SYNC_EVERY = 1.0
"""A power failure may lose this many seconds of work. A kill loses none: each line is written at once."""

_HEAD = b'{"crc":"%08x",'
_HEAD_LENGTH = len(_HEAD % 0)


class JournalReader:
    """Append-only JSON lines `{"crc", "key", "value"}`; the last line of a key counts.

    The file need not exist, and another process may be writing it: only its content at the time of opening is
    read. Only keys and places are kept in memory, not values. An incomplete last line (the process was killed
    while writing) does not count; a damaged line is left out and counted in `skipped`.
    """

    path: Path
    skipped: int
    """Lines found damaged when the journal was opened; their units are done again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        """The end of the last complete line."""
        if not path.exists():
            return
        with path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._add(_key(line[:-1]), len(line))

    def _add(self, key: str | None, length: int) -> None:
        """Note the next line, of `length` bytes; without a key it is damaged."""
        if key is None:
            self.skipped += length > 1
        else:
            self._places[key] = (self._end, length)
        self._end += length

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def get(self, key: str) -> dict[str, Any] | None:
        """The value last put under `key`, or None."""
        place = self._places.get(key)
        if place is None:
            return None
        value: dict[str, Any] = json.loads(self._read(*place))["value"]
        return value

    def _read(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def put(self, key: str, value: dict[str, Any]) -> None:
        """A reader cannot write."""
        raise AssertionError(f"{self.path} is only read")


class Journal(JournalReader):
    """A journal for writing: by one process at a time, with any number of threads.

    Damaged lines are removed when it is opened, and counted in `skipped`.
    """

    def __init__(self, path: Path) -> None:
        damaged = _take_out_damaged(path)
        super().__init__(path)
        self.skipped = damaged
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, self._end)
        self._synced = time.monotonic()

    def _read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, length, offset)

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Append `value`. It then survives the end of the process, and after a second a power failure.

        Raises:
            DiskFull: there was no space. The journal is unchanged and keeps the earlier units.
        """
        body = json.dumps({"key": key, "value": value}, ensure_ascii=False, separators=(",", ":"))
        rest = body.encode()[1:]
        line = _HEAD % zlib.crc32(rest) + rest + b"\n"
        with self._lock:
            try:
                _write_all(self._file, line)
            except OSError as error:
                os.ftruncate(self._file, self._end)
                if is_disk_full(error):
                    raise DiskFull(self.path) from error
                raise
            self._add(key, len(line))
            if time.monotonic() - self._synced >= _SYNC_EVERY:
                self._sync()

    def _sync(self) -> None:
        os.fsync(self._file)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Make everything durable and close the file. Idempotent."""
        with self._lock:
            if self._file >= 0:
                self._sync()
                os.close(self._file)
                self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def damaged_lines(path: Path) -> tuple[list[int], bool]:
    """The numbers, from 1, of damaged lines, and whether the last line is torn.

    A journal that does not exist has none.
    """
    damaged, torn = [], False
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    torn = True
                elif _key(line.removesuffix(b"\n")) is None:
                    damaged.append(number)
    except FileNotFoundError:
        pass
    return damaged, torn


def _take_out_damaged(path: Path) -> int:
    """Remove damaged lines from the journal `path`, if there are any; returns how many there were.

    Raises:
        DiskFull: there was no space for the new file.
    """
    damaged, _ = damaged_lines(path)
    if not damaged:
        return 0
    left_out = set(damaged)

    def write(whole: Path) -> None:
        with path.open("rb") as old, whole.open("wb") as new:
            for number, line in enumerate(old, start=1):
                if number not in left_out and line.endswith(b"\n"):
                    new.write(line)

    write_whole(path, write)
    return len(damaged)


def _key(line: bytes) -> str | None:
    """The key of an intact line, else None. The value is not parsed, because the checksum covers it."""
    body = line[_HEAD_LENGTH:]
    if line[:_HEAD_LENGTH] != _HEAD % zlib.crc32(body) or not body.startswith(b'"key":'):
        return None
    key, _ = json.JSONDecoder().raw_decode(body.decode(), len('"key":'))
    return str(key)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
