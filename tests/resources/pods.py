"""As much of Kubernetes' API as one pod needs. Its first container is a process of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml


class Kubernetes(ThreadingHTTPServer):
    """The pods that were made, by name, with their processes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.specs: list[dict[str, Any]] = []
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.deleted: list[str] = []

    def create(self, pod: dict[str, Any]) -> dict[str, Any]:
        (container,) = pod["spec"]["containers"]
        self.specs.append(pod["spec"])
        environment = {each["name"]: each["value"] for each in container["env"]}
        name = pod["metadata"]["name"]
        with (self.folder / name).open("wb") as log:
            self.running[name] = subprocess.Popen(
                container["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
            )
        return self.pod(name)

    def pod(self, name: str) -> dict[str, Any]:
        code = self.running[name].poll()
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
        status = {
            "name": "train",
            "state": state,
            "ready": True,
            "image": "",
            "imageID": "",
            "restartCount": 0,
        }
        return {"metadata": {"name": name}, "status": {"containerStatuses": [status]}}

    def delete(self, name: str) -> dict[str, Any]:
        pod = self.pod(name)
        self.running[name].kill()
        self.running[name].wait()
        self.deleted.append(name)
        return pod


class _Handler(BaseHTTPRequestHandler):
    server: Kubernetes

    def _answer(self, body: object) -> None:
        text = json.dumps(body).encode() if not isinstance(body, bytes) else body
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if not isinstance(body, bytes) else "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        self._answer(self.server.create(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path.endswith("/log"):
            self._answer((self.server.folder / address.path.split("/")[-2]).read_bytes())
            return
        (selector,) = parse_qs(address.query)["fieldSelector"]
        self._answer({"items": [self.server.pod(selector.removeprefix("metadata.name="))]})

    def do_DELETE(self) -> None:
        self._answer(self.server.delete(self.path.rpartition("/")[2].partition("?")[0]))

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def kubernetes(folder: Path) -> Iterator[tuple[Kubernetes, Path]]:
    """The server, and a file for KUBECONFIG that names it."""
    server = Kubernetes(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        config = folder / "kubeconfig"
        url = f"http://127.0.0.1:{server.server_port}"
        config.write_text(
            yaml.safe_dump(
                {
                    "clusters": [{"name": "here", "cluster": {"server": url}}],
                    "users": [{"name": "me", "user": {}}],
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                    "current-context": "here",
                }
            )
        )
        yield server, config
    finally:
        server.shutdown()
        server.server_close()
