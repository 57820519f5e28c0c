"""The process around one model server: it ends the server, with all that it started, when its parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from sand_dagster.execution.parent import Message, Parent

_LAST_BYTES = 4096


def main() -> None:
    """Start the server that the parent asks for. There is no answer: this process ends with the server."""
    parent = Parent()
    for request in parent.requests():
        threading.Thread(target=_serve, args=(request,), daemon=True).start()
    os.killpg(os.getpgrp(), signal.SIGKILL)  # `Child.start` makes a group of its own


def _serve(request: Message) -> None:
    """Run `command` with `environment` added, its output in the file `log`."""
    log = Path(request["log"])
    with log.open("ab") as output:
        start = output.tell()
        status = subprocess.call(
            request["command"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | request["environment"],
        )
    with log.open("rb") as written:
        written.seek(max(start, log.stat().st_size - _LAST_BYTES))
        print(written.read().decode(errors="replace"), file=sys.stderr, flush=True)
    os._exit(status if 0 < status < 256 else 1)


if __name__ == "__main__":
    main()
