"""The process around one model server: it ends the server, with all that it started, when its parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from sand_dagster.execution.parent import Message, Parent

_LAST_BYTES = 4096
_GRACE_S = 20.0
"""A server that is asked to end removes its shared memory, which nobody else can find; then it is killed."""


def main() -> None:
    """Start the server that the parent asks for. There is no answer: this process ends with the server."""
    parent = Parent()
    servers: list[subprocess.Popen[bytes]] = []
    ending = threading.Event()
    for request in parent.requests():
        threading.Thread(target=_serve, args=(request, servers, ending), daemon=True).start()
    ending.set()
    for server in servers:
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(_GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)  # `Child.start` makes a group of its own


def _serve(request: Message, servers: list[subprocess.Popen[bytes]], ending: threading.Event) -> None:
    """Run `command` with `environment` added, its output in the file `log`."""
    log = Path(request["log"])
    with log.open("ab") as output:
        start = output.tell()
        server = subprocess.Popen(
            request["command"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | request["environment"],
        )
    servers.append(server)
    status = server.wait()
    with log.open("rb") as written:
        written.seek(max(start, log.stat().st_size - _LAST_BYTES))
        print(written.read().decode(errors="replace"), file=sys.stderr, flush=True)
    if not ending.is_set():
        os._exit(status if 0 < status < 256 else 1)


if __name__ == "__main__":
    main()
