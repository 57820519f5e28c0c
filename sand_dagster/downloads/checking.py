"""Whether a file is the published one: its size, its SHA-256, and at least its format."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from pathlib import Path

from sand_dagster.downloads.sources import Basis, RemoteFile
from sand_dagster.errors import ArtifactError
from sand_dagster.fingerprints import file_digest

_SHA256, _GIT_SHA1 = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{40}")
_START = 512


class DownloadError(ArtifactError):
    """A file cannot be had, or is not the published one. The message says which, why, and what to do."""


class WrongContent(DownloadError):
    """A file is there, and is not the published one."""


def check_file(path: Path, file: RemoteFile) -> str:
    """What was checked of `path`, which is said to be `file`, in words.

    A SHA-256 that others report and that differs is no error where size and format are right: then the words
    say so.

    Raises:
        WrongContent: size, format or SHA-256 differ.
    """
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise WrongContent(f"{path}: expected {file.size:,} bytes, found {size:,}")
    _check_format(path, file.format)
    if not file.sha256:
        return f"{file.format} format (no checksum is known)"
    found = file_digest(path)
    if found == file.sha256:
        return f"SHA-256 is that of {file.basis.value}"
    if file.basis is Basis.REPORTED:
        return f"size and {file.format} format; its SHA-256 {found} is not {file.sha256}, {file.basis.value}"
    raise WrongContent(f"{path}: expected SHA-256 {file.sha256}, found {found}")


def check_hub_file(path: Path, etag: str, size: int | None) -> str:
    """What was checked of a file of the hub, in words. `etag` is the hub's: a SHA-256, or git's hash.

    Raises:
        WrongContent: it is not what the hub states.
    """
    found_size = path.stat().st_size
    if size is not None and found_size != size:
        raise WrongContent(f"{path}: the hub states {size:,} bytes, found {found_size:,}")
    if _SHA256.fullmatch(etag):
        name, found = "SHA-256", file_digest(path)
    elif _GIT_SHA1.fullmatch(etag):
        name, found = "git hash", _git_hash(path)
    else:
        return "size (the hub states no hash)"
    if found != etag:
        raise WrongContent(f"{path}: the hub states the {name} {etag}, found {found}")
    return f"{name} is the one that the hub states for this revision"


def _git_hash(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _check_format(path: Path, kind: str) -> None:
    with path.open("rb") as file:
        start = file.read(_START).lstrip()
    if start[:1] == b"<":
        raise WrongContent(f"{path}: expected a {kind} file, found a web page: {start[:60]!r}")
    try:
        if kind == "zip":
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise WrongContent(f"{path}: {damaged} in it is damaged")
        else:
            json.loads(path.read_bytes())
    except (zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise WrongContent(f"{path}: not a whole {kind} file: {error}") from error
