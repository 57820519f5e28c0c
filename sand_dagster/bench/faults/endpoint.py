"""A scripted OpenAI-compatible server that fails on request: `python -m …faults.endpoint PORT`."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONTROL = "/control"
"""A POST of `{"fault": NAME, "times": N}` here gives the next N completions that fault."""

CONTEXT = 512
_TOKENS_A_MESSAGE = 12
_STALL_S = 60.0
_WORK_S = 0.004
"""How long a completion takes, so that some are in progress when a fault comes."""

Body = bytes


def _completion(text: object, prompt_tokens: object, model: str = "scripted") -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 5, "total_tokens": 5},
    }


def script(messages: Sequence[dict[str, str]], seed: int) -> str:
    """The scripted model's reply: two samples of a turn differ, every critique and deliberation parses."""
    last = messages[-1]["content"]
    if "Action Evaluation" in last:
        return "Action Evaluation: it changes nothing."
    if "{expert_action}" in last or "scratch" in last.lower():
        return "Thought: I can choose.\n\n- look: no.\n- inventory: no.\n\nI take the other."
    return f"Thought: I look.\nAction: {'look' if seed % 2 else 'inventory'}"


LIES: dict[str, Callable[[str], Body]] = {
    "garbage": lambda _: b"\x00\xff not JSON",
    "HTML": lambda key: f"<html><body>Sign in, {key}</body></html>".encode(),
    "an array": lambda _: b"[1, 2, 3]",
    "no message": lambda _: b'{"choices": [{"index": 0}]}',
    "no choices": lambda _: b'{"choices": []}',
    "a number for the text": lambda _: json.dumps(_completion(7, 3)).encode(),
    "text for a number": lambda _: json.dumps(_completion("Action: look", "many")).encode(),
    "the key": lambda key: json.dumps({"error": f"unknown key {key}"}).encode(),
    "nothing": lambda _: b"",
}
"""Bodies that are not completions, each with HTTP 200; some repeat the key that came with the request."""

STATUSES = {"400": 400, "401": 401, "404": 404, "429": 429, "500": 500, "503": 503}
STALLS, HALVES, HANGS_UP = "stalls", "halves", "hangs up"
FAULTS = (*LIES, *STATUSES, STALLS, HALVES, HANGS_UP)


class Scripted(ThreadingHTTPServer):
    """The server, and the fault of the next completions."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self._lock = threading.Lock()
        self._fault, self._times = "", 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that were killed while they waited are not reported."""

    def set_fault(self, fault: str, times: int) -> None:
        """Give the next `times` completions this fault."""
        with self._lock:
            self._fault, self._times = fault, times

    def next_fault(self) -> str:
        """The fault of the current completion; empty: none."""
        with self._lock:
            if self._times <= 0:
                return ""
            self._times -= 1
            return self._fault


class _Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        self._send(200, b'{"object": "list", "data": []}')

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == CONTROL:
            self.server.set_fault(asked["fault"], asked["times"])
            return self._send(200, b"{}")
        time.sleep(_WORK_S)
        tokens = _TOKENS_A_MESSAGE * len(asked["messages"])
        reply_text = script(asked["messages"], asked.get("seed", 0))
        body = json.dumps(_completion(reply_text, tokens, asked["model"])).encode()
        fault = self.server.next_fault()
        key = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if fault == STALLS:
            time.sleep(_STALL_S)
        if fault == HANGS_UP:
            self.close_connection = True
        elif fault == HALVES:
            self._send(200, body, cut=len(body) // 2)
        elif fault in STATUSES:
            error = {"error": {"message": f"refused with {STATUSES[fault]}, key {key}", "type": "fault"}}
            self._send(STATUSES[fault], json.dumps(error).encode())
        elif fault in LIES:
            self._send(200, LIES[fault](key))
        else:
            self._send(200, body)

    def _send(self, status: int, body: Body, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Serve on the port of the command line (0: any), and print it."""
    with Scripted(int(sys.argv[1])) as server:
        print(server.server_port, flush=True)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        server.serve_forever()


if __name__ == "__main__":
    main()
