"""A model server of a few lines, in a process that can be killed. The request determines its answer.

`python -m tests.models.serving PORT MODEL…`; a model's name may end in `*`. For a model whose name begins
with `standard` it accepts only the fields of OpenAI's API.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DELAY_S = 0.02
SLOTS = threading.Semaphore(4)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    models: tuple[str, ...] = ()
    answered = 0

    def do_GET(self) -> None:
        if self.path.endswith("/count"):
            return self._send(200, Handler.answered)
        # vLLM lists its models; a server with a * accepts any name, and lists nothing.
        names = [] if any("*" in name for name in self.models) else self.models
        self._send(200, {"data": [{"id": name} for name in names]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not any(fnmatch(asked["model"], model) for model in self.models):
            return self._send(404, {"error": {"message": f"no model {asked['model']}"}})
        if asked["model"].startswith("standard") and "top_k" in asked:
            return self._send(400, {"error": {"message": "Unknown parameter: 'top_k'."}})
        with SLOTS:
            time.sleep(DELAY_S)
        Handler.answered += 1
        choice = {"message": {"content": text(asked)}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        self._send(200, {"model": asked["model"], "choices": [choice], "usage": usage})

    def _send(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


def text(asked: dict[str, Any]) -> str:
    """The answer: a turn, a critique or a deliberation, drawn by the messages and the seed."""
    last = asked["messages"][-1]["content"]
    drawn = int(hashlib.sha256(json.dumps([asked["messages"], asked.get("seed")]).encode()).hexdigest(), 16)
    if "Action Evaluation" in last:
        return "Action Evaluation: it changes nothing."
    if "scratch" in last.lower():
        return "Thought: I can choose.\n\n- look: no.\n- inventory: no.\n\nI take the other."
    return f"Thought: I look.\nAction: {('look', 'inventory', 'go to shelf 1', 'go to desk 1')[drawn % 4]}"


class Server:
    """The server's process, from outside."""

    def __init__(self, port: int, *models: str) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.models.serving", str(port), *models],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        for _ in range(200):
            try:
                self.answered()
                return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError(f"the stub at {self.url} did not start")

    def answered(self) -> int:
        """Completions so far."""
        with urllib.request.urlopen(f"{self.url}/count", timeout=5) as reply:
            return int(reply.read())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def main() -> None:
    Handler.models = tuple(sys.argv[2:])
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()


if __name__ == "__main__":
    main()
