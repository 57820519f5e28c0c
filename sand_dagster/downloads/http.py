"""One file over HTTP, continued where it stopped: into `NAME.part`, which gets its name at the end."""

from __future__ import annotations

import fcntl
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from sand_dagster.downloads.checking import DownloadError, WrongContent, check_file
from sand_dagster.downloads.sources import RemoteFile
from sand_dagster.errors import is_disk_full
from sand_dagster.files import sync_folder

Report = Callable[[int, int | None], None]
"""Called with (bytes that are here, bytes in all if known)."""

_TRIES, _LONGEST_WAIT = 5, 60.0
_TIMEOUT = httpx.Timeout(30.0, read=120.0)
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class _TryAgain(Exception):
    """The attempt failed in a way that may pass. `after` is how long the server asks to wait, in seconds."""

    def __init__(self, problem: str, after: float | None = None) -> None:
        super().__init__(problem)
        self.after = after


class Unreachable(DownloadError):
    """The server could not be reached, however often it was tried."""


def download(
    file: RemoteFile,
    path: Path,
    report: Report = lambda done, total: None,
    *,
    client: httpx.Client | None = None,
    wait: float = 1.0,
) -> str:
    """Bring `file` to `path`, unless it is there; returns what was checked of it, in words.

    An attempt that makes no progress is repeated four times, after `wait` seconds and then twice as long each
    time. What an earlier call left in `NAME.part` is continued if the server's file is still the same.

    Raises:
        WrongContent: what is at `path`, or what came, is not the published file.
        Unreachable: there is no network, or no answer.
        DownloadError: the server refuses, the disk is full, or another process downloads the same file.
    """
    if path.exists():
        try:
            return f"was there; {check_file(path, file)}"
        except WrongContent as error:
            raise WrongContent(f"{error}. Move it away, and run the command again") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with _Part.opened(part) as held, _client(client) as asking:
        _complete(held, file, asking, report, wait)
        try:
            checked = check_file(part, file)
        except WrongContent as error:
            held.discard()
            raise WrongContent(
                f"{error}. What came from {file.url} was removed. Run the command again; if it says "
                "the same, the published file has changed"
            ) from error
        held.sync()
        part.rename(path)
        held.tag.unlink(missing_ok=True)
        sync_folder(path.parent)
    return checked


@contextmanager
def _client(given: httpx.Client | None) -> Iterator[httpx.Client]:
    if given is not None:
        yield given
        return
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
        yield client


class _Part:
    """The file that is being filled, and beside it the server's tag of the version that it is part of."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path, self._file = path, file
        self.tag = path.with_name(f"{path.name}.etag")

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[_Part]:
        with path.open("ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DownloadError(
                    f"another process is downloading {path}. Wait for it, or stop it"
                ) from None
            part = cls(path, file)
            try:
                yield part
            finally:
                if not part.size:
                    part.discard()

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    @property
    def version(self) -> str:
        """The server's tag of what is here; empty if that is not known."""
        return self.tag.read_text(encoding="utf-8") if self.tag.is_file() else ""

    def begin(self, version: str) -> None:
        """Start from nothing, with the version of the server's tag `version`."""
        self._file.truncate(0)
        self.tag.unlink(missing_ok=True)
        if version:
            self.tag.write_text(version, encoding="utf-8")

    def write(self, block: bytes) -> None:
        left = memoryview(block)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise DownloadError(
                f"no space left on the disk for {self.path}. Free some space and run the command again; it "
                "continues where it stopped"
            ) from error

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)


def _complete(part: _Part, file: RemoteFile, client: httpx.Client, report: Report, wait: float) -> None:
    failures = 0
    while True:
        before = part.size
        try:
            _attempt(part, file, client, report)
            return
        except (_TryAgain, httpx.TransportError) as error:
            failures = 1 if part.size > before else failures + 1
            if failures == _TRIES:
                kept = (
                    f" {part.size:,} bytes are kept, and the next call continues there." if part.size else ""
                )
                raise Unreachable(
                    f"{file.url} cannot be had: {error or type(error).__name__}, {_TRIES} times.{kept}"
                ) from error
            pause: float = getattr(error, "after", None) or wait * 2 ** (failures - 1)
            time.sleep(min(pause, _LONGEST_WAIT))
        except httpx.HTTPError as error:
            raise DownloadError(f"{file.url} cannot be had: {error or type(error).__name__}") from error


def _attempt(part: _Part, file: RemoteFile, client: httpx.Client, report: Report) -> None:
    """One request, for what is missing; returns if all is there."""
    here = part.size
    headers = {"Accept-Encoding": "identity"}
    if here:
        headers["Range"] = f"bytes={here}-"
        if part.version:
            headers["If-Range"] = part.version
    with client.stream("GET", file.url, headers=headers) as answer:
        if file.url.startswith("https:") and answer.url.scheme != "https":
            raise DownloadError(
                f"{file.url} leads to {answer.url}, which is not encrypted. Nothing was taken"
            )
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and here:
            if _total(answer) == here:
                return
            part.begin("")  # it is longer than the file, so it is part of another one
            raise _TryAgain("what was here is not part of the file that is there now")
        _require_success(answer, file)
        total = _total(answer)
        if file.size is not None and total is not None and total != file.size:
            raise WrongContent(
                f"{file.url} now has {total:,} bytes, expected {file.size:,}: the published file has changed"
            )
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:
            here = 0  # a server may also send everything
        elif _first_byte(answer) != here:
            part.begin("")
            raise _TryAgain("the server sent another part than was asked for")
        if not here:
            part.begin(_strong_tag(answer))
        for block in answer.iter_raw():
            part.write(block)
            here += len(block)
            report(here, total if total is not None else file.size)
        if total is not None and here < total:
            raise _TryAgain(f"the connection ended after {here:,} of {total:,} bytes")


def _require_success(answer: httpx.Response, file: RemoteFile) -> None:
    status = answer.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        after = answer.headers.get("retry-after", "")
        raise _TryAgain(f"the server answers {status}", float(after) if after.isdigit() else None)
    if status not in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        raise DownloadError(
            f"{file.url}: the server answers {status} {answer.reason_phrase}. The published file may have "
            "moved"
        )
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html":
        raise DownloadError(
            f"{file.url}: the server sent a web page, not the file: it may ask for a login or a "
            "confirmation, or its quota may be used up. Open the address in a browser"
        )


def _first_byte(answer: httpx.Response) -> int | None:
    """Where the part that was sent begins."""
    found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    return int(found[1]) if found is not None and found[1] is not None else None


def _total(answer: httpx.Response) -> int | None:
    """Bytes of the whole file, if the server says so."""
    found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
    if found is not None:
        return int(found[2]) if found[2] != "*" else None
    length = answer.headers.get("content-length", "")
    return int(length) if length.isdigit() and answer.status_code == httpx.codes.OK else None


def _strong_tag(answer: httpx.Response) -> str:
    """The tag by which the server can tell whether the file is still the same; empty if it gives none."""
    tag: str = answer.headers.get("etag", "")
    return tag if tag.startswith('"') else ""
