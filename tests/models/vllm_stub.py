"""A stand-in for vLLM's server with its command line, which answers prompts of token ids.

It starts a process of its own, as vLLM does for its engine, and writes the number of that process, and of its
own, to its log. `server_programs.MODULE` names it in tests.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tests.models.serving import DELAY_S, Handler, text

VERSION = "0.32.0"


class Completions(Handler):
    tokenizer: Tokenizer
    context = 0
    version = VERSION
    ends_after = 0

    def do_GET(self) -> None:
        if self.path == "/health":
            return self._send(503 if Path(os.environ.get("STUB_SICK", "")).is_file() else 200, {})
        if self.path == "/version":
            return self._send(200, {"version": self.version})
        if self.path == "/v1/models":
            models = [{"id": name, "max_model_len": self.context} for name in self.models]
            return self._send(200, {"data": models})
        return super().do_GET()

    def do_POST(self) -> None:
        asked: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions" or asked["model"] not in self.models:
            return self._send(404, {"error": {"message": f"no model {asked['model']} at {self.path}"}})
        prompt: list[int] = asked["prompt"]
        time.sleep(DELAY_S)
        said = self.tokenizer.decode(prompt, skip_special_tokens=False)
        written = text({"messages": [{"content": said}], "seed": asked.get("seed")})
        Handler.answered += 1
        if self.ends_after and Handler.answered >= self.ends_after:
            os._exit(3)
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(self.tokenizer.encode(written).ids)}
        choice = {"text": written, "finish_reason": "stop"}
        return self._send(200, {"model": asked["model"], "choices": [choice], "usage": usage})


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--model", "--served-model-name", "--host"):
        parser.add_argument(name)
    for name in ("--port", "--max-model-len"):
        parser.add_argument(name, type=int)
    asked, _ = parser.parse_known_args()
    if os.environ.get("STUB_FAILS"):
        sys.exit("no engine today")
    serve(asked.model, asked.served_model_name, asked.host, asked.port, asked.max_model_len)


def serve(folder: str, name: str, host: str, port: int, context: int) -> None:
    """Serve the model in `folder` as `name`, for ever."""
    Completions.models = (name,)
    Completions.tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    Completions.context = context
    Completions.version = os.environ.get("STUB_VERSION", VERSION)
    Completions.ends_after = int(os.environ.get("STUB_ENDS_AFTER", "0"))
    engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"server {os.getpid()} engine {engine.pid}", flush=True)
    threading.Thread(target=engine.wait, daemon=True).start()
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer((host, port), Completions).serve_forever()


if __name__ == "__main__":
    main()
