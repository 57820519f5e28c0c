"""A small Hugging Face hub on loopback: repositories of files at one commit, with their hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Files by `<type>s/<owner>/<name>` and path. Those of `large` are stated by their SHA-256."""

    repositories: dict[str, dict[str, bytes]]
    large: set[str] = field(default_factory=set)
    gated: bool = False
    sent: dict[str, bytes] = field(default_factory=dict)
    """What is sent instead of the stated content, by path."""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def hash_of(self, path: str, content: bytes) -> str:
        if path in self.large:
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length).decode() if length else ""
        if self.gated:
            return self._answer(request, 403, b"{}", {"X-Error-Code": "GatedRepo"})
        for name, files in self.repositories.items():
            plain = name.removeprefix("models/")
            if request.path.startswith(f"/{plain}/resolve/{COMMIT}/"):
                return self._file(request, request.path.rpartition(f"/{COMMIT}/")[2], files)
            if request.path.startswith(f"/api/{name}/paths-info/"):
                wanted = parse_qs(body)["paths"]
                return self._json(request, [self._stated(p, files[p]) for p in wanted if p in files])
            if request.path.startswith(f"/api/{name}/tree/"):
                return self._json(request, [self._stated(p, content) for p, content in files.items()])
            if request.path.startswith(f"/api/{name}"):
                siblings = [{"rfilename": path} for path in files]
                return self._json(
                    request, {"id": name.partition("/")[2], "sha": COMMIT, "siblings": siblings}
                )
        self._answer(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _stated(self, path: str, content: bytes) -> dict[str, Any]:
        large = {"oid": self.hash_of(path, content), "size": len(content), "pointerSize": 130}
        stated = {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
        return {**stated, "lfs": large} if path in self.large else {**stated, "oid": large["oid"]}

    def _file(self, request: BaseHTTPRequestHandler, path: str, files: dict[str, bytes]) -> None:
        if path not in files:
            return self._answer(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{self.hash_of(path, files[path])}"'}
        self._answer(request, 200, self.sent.get(path, files[path]), headers)

    def _json(self, request: BaseHTTPRequestHandler, value: object) -> None:
        self._answer(request, 200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)
