"""A server of files on loopback that misbehaves as a test wants it to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Protocol, TypeVar


@dataclass
class FileServer:
    """What it serves, by path, and how. `asked` are the requests: path and Range."""

    files: dict[str, bytes] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """The next answers end after so many bytes of their body, without a word."""
    answers: list[int] = field(default_factory=list)
    """The next answers have these status codes and no file."""
    ranges: bool = True
    wrong_range: bool = False
    length: bool = True
    content_type: str = "application/octet-stream"
    tag: str = '"one"'
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append((request.path, request.headers.get("Range", "")))
        if self.answers:
            status = self.answers.pop(0)
            request.send_response(status)
            request.send_header("Content-Length", "0")
            if 300 <= status < 400:
                request.send_header("Location", request.path)
            request.end_headers()
            return
        content = self.files.get(request.path)
        if content is None:
            request.send_error(404)
            return
        self._send(request, content)

    def _send(self, request: BaseHTTPRequestHandler, content: bytes) -> None:
        start, status = 0, 200
        same = request.headers.get("If-Range", self.tag) == self.tag
        if self.ranges and same and (asked := request.headers.get("Range")):
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(content):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(content)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            start += self.wrong_range
        request.send_response(status)
        request.send_header("Content-Type", self.content_type)
        if self.tag:
            request.send_header("ETag", self.tag)
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.length:
            request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        body = content[start:]
        request.wfile.write(body[: self.break_after.pop(0)] if self.break_after else body)
        request.close_connection = True


class Served(Protocol):
    """What answers requests; `url` is set when it is served."""

    url: str

    def respond(self, request: BaseHTTPRequestHandler) -> None: ...


S = TypeVar("S", bound=Served)


@contextmanager
def serving(server: S) -> Iterator[S]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.respond(self)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listening.server_port}"
    thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
