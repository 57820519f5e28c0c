"""A download is whole and the right one, or it says why not and goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.downloads.checking import DownloadError, WrongContent
from sand_dagster.downloads.http import Unreachable, download
from sand_dagster.downloads.sources import Basis, RemoteFile
from tests.downloads.server import FileServer, serving, sha256

CONTENT = json.dumps([{"id": n, "text": "größe " * 50} for n in range(500)]).encode()
HALF = len(CONTENT) // 2


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(FileServer({"/a.json": CONTENT})) as started:
        yield started


def _file(server: FileServer, **values: Any) -> RemoteFile:
    known = {"size": len(CONTENT), "sha256": sha256(CONTENT)}
    return RemoteFile(f"{server.url}/a.json", "a.json", "json", **{**known, **values})


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_with_progress_and_is_left_alone_the_next_time(
    server: FileServer, tmp_path: Path
) -> None:
    seen: list[tuple[int, int | None]] = []
    path = tmp_path / "new" / "a.json"
    said = download(_file(server), path, lambda done, total: seen.append((done, total)), wait=0)
    assert said == "SHA-256 is that of the file that this project was tested with"
    assert path.read_bytes() == CONTENT and _left(path.parent) == ["a.json"]
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and seen == sorted(seen)
    assert download(_file(server), path, wait=0).startswith("was there; SHA-256 is that")
    assert len(server.asked) == 1


def test_a_connection_that_breaks_is_continued_where_it_broke(server: FileServer, tmp_path: Path) -> None:
    server.break_after = [1000, 2000, HALF]
    download(_file(server), tmp_path / "a.json", wait=0)
    assert (tmp_path / "a.json").read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["", "bytes=1000-", "bytes=3000-", f"bytes={3000 + HALF}-"]


def test_an_interrupted_call_is_continued_by_the_next_one(server: FileServer, tmp_path: Path) -> None:
    server.break_after = [HALF]
    server.answers = []

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(_file(server), tmp_path / "a.json", stop, wait=0)
    assert _left(tmp_path) == ["a.json.part", "a.json.part.etag"]
    kept = (tmp_path / "a.json.part").stat().st_size
    server.break_after = []
    download(_file(server), tmp_path / "a.json", wait=0)
    assert server.asked[-1] == ("/a.json", f"bytes={kept}-")
    assert (tmp_path / "a.json").read_bytes() == CONTENT and _left(tmp_path) == ["a.json"]


@pytest.mark.parametrize("how", ["no ranges", "another version", "wrong part"])
def test_a_part_that_cannot_be_continued_is_begun_again(server: FileServer, tmp_path: Path, how: str) -> None:
    (tmp_path / "a.json.part").write_bytes(b"x" * 1000)
    (tmp_path / "a.json.part.etag").write_text('"one"')
    server.ranges = how != "no ranges"
    server.tag = '"two"' if how == "another version" else '"one"'
    server.wrong_range = how == "wrong part"
    download(_file(server), tmp_path / "a.json", wait=0)
    assert (tmp_path / "a.json").read_bytes() == CONTENT
    assert server.asked[0] == ("/a.json", "bytes=1000-")


@pytest.mark.parametrize("here", [CONTENT, CONTENT + b"more"])
def test_a_part_that_is_whole_is_taken_and_one_that_is_too_long_is_not(
    server: FileServer, tmp_path: Path, here: bytes
) -> None:
    (tmp_path / "a.json.part").write_bytes(here)
    download(_file(server), tmp_path / "a.json", wait=0)
    assert (tmp_path / "a.json").read_bytes() == CONTENT
    assert len(server.asked) == (1 if here == CONTENT else 2)


def test_a_server_that_is_busy_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.answers = [503, 429, 500, 502]
    download(_file(server), tmp_path / "a.json", wait=0)
    assert len(server.asked) == 5


def test_a_server_that_stays_away_is_given_up_and_what_came_is_kept(
    server: FileServer, tmp_path: Path
) -> None:
    server.break_after = [HALF, 0, 0, 0, 0, 0, 0]
    with pytest.raises(Unreachable, match=rf"5 times\. {HALF:,} bytes are kept") as caught:
        download(_file(server), tmp_path / "a.json", wait=0)
    assert server.url in str(caught.value)
    assert (tmp_path / "a.json.part").stat().st_size == HALF and not (tmp_path / "a.json").exists()


def test_no_server_at_all_is_unreachable_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9/a\.json cannot be had"):
        download(RemoteFile("http://127.0.0.1:9/a.json", "a.json", "json"), tmp_path / "a.json", wait=0)
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "answers 404"), (403, "answers 403"), (302, "Exceeded maximum allowed redirects")],
)
def test_a_refusal_is_said_at_once_and_leaves_nothing(
    server: FileServer, tmp_path: Path, status: int, said: str
) -> None:
    server.answers = [status] * 30
    with pytest.raises(DownloadError, match=said) as caught:
        download(_file(server), tmp_path / "a.json", wait=0)
    assert not isinstance(caught.value, Unreachable) and server.url in str(caught.value)
    assert _left(tmp_path) == []


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_not_taken_for_the_file(server: FileServer, tmp_path: Path, content_type: str) -> None:
    server.files["/a.json"], server.content_type = b"\n<!DOCTYPE html><html>Sign in</html>", content_type
    with pytest.raises(DownloadError, match="web page"):
        download(_file(server, size=None, sha256=""), tmp_path / "a.json", wait=0)
    assert _left(tmp_path) == []


def test_a_wrong_checksum_is_refused_and_removed(server: FileServer, tmp_path: Path) -> None:
    server.files["/a.json"] = CONTENT.replace(b"499", b"500")
    with pytest.raises(
        WrongContent, match=r"expected SHA-256 \w+, found \w+\. What came from .* was removed"
    ):
        download(_file(server), tmp_path / "a.json", wait=0)
    assert _left(tmp_path) == []


def test_another_size_is_refused_before_it_is_fetched(server: FileServer, tmp_path: Path) -> None:
    server.files["/a.json"] = CONTENT + b" "
    with pytest.raises(WrongContent, match="the published file has changed"):
        download(_file(server), tmp_path / "a.json", wait=0)
    assert _left(tmp_path) == []


def test_a_file_that_ends_early_without_a_length_is_not_taken_for_whole(
    server: FileServer, tmp_path: Path
) -> None:
    server.length, server.break_after = False, [HALF] * 9
    with pytest.raises(WrongContent, match=r"expected [\d,]+ bytes, found"):
        download(_file(server), tmp_path / "a.json", wait=0)
    with pytest.raises(WrongContent, match="not a whole json file"):
        download(_file(server, size=None, sha256=""), tmp_path / "a.json", wait=0)
    assert _left(tmp_path) == []


def test_what_was_checked_is_said_as_it_is(server: FileServer, tmp_path: Path) -> None:
    said = download(_file(server, sha256=""), tmp_path / "one.json", wait=0)
    assert said == "json format (no checksum is known)"
    said = download(_file(server, basis=Basis.REPORTED), tmp_path / "two.json", wait=0)
    assert said == "SHA-256 is that of what others report of the file at this address"
    other = _file(server, sha256="0" * 64, basis=Basis.REPORTED)
    said = download(other, tmp_path / "three.json", wait=0)
    assert f"its SHA-256 {sha256(CONTENT)} is not {'0' * 64}" in said


def test_another_file_in_its_place_is_never_replaced(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(WrongContent, match="Move it away"):
        download(_file(server), tmp_path / "a.json", wait=0)
    assert (tmp_path / "a.json").read_text() == "[]" and server.asked == []


def test_two_calls_do_not_write_the_same_part(server: FileServer, tmp_path: Path) -> None:
    refused = []

    def second(done: int, total: int | None) -> None:
        if not refused:
            with pytest.raises(DownloadError, match="another process is downloading") as caught:
                download(_file(server), tmp_path / "a.json", wait=0)
            refused.append(caught.value)

    download(_file(server), tmp_path / "a.json", second, wait=0)
    assert refused and (tmp_path / "a.json").read_bytes() == CONTENT


def test_a_full_disk_keeps_what_came(server: FileServer, small_disk: Path) -> None:
    with pytest.raises(DownloadError, match=r"no space left on the disk .* continues where it stopped"):
        download(_file(server), small_disk / "a.json", wait=0)
    assert (small_disk / "a.json.part").stat().st_size > 0 and not (small_disk / "a.json").exists()
