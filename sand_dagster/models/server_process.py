"""The process around one model server: it ends the server, with all that it started, when its parent ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from sand_dagster.execution.parent import Parent
from sand_dagster.scratch import remove_own

_LAST_BYTES = 4096
_GRACE_S = 20.0
"""A server that is asked to end removes its shared memory, which nobody else can find; then it is killed."""


def main() -> None:
    """Start the server that the parent asks for. There is no answer: this process ends with the server."""
    requests = Parent().requests()
    if (request := next(requests, None)) is not None:
        log, ending = Path(request["log"]), threading.Event()
        with log.open("ab") as output:
            start = output.tell()
            server = subprocess.Popen(
                request["command"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | request["environment"],
            )
        threading.Thread(target=_watch, args=(server, log, start, ending), daemon=True).start()
        for _ in requests:
            pass  # there is no other; they end with the parent
        ending.set()
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(_GRACE_S)
        remove_own()
    os.killpg(os.getpgrp(), signal.SIGKILL)  # `Child.start` makes a group of its own


def _watch(server: subprocess.Popen[bytes], log: Path, start: int, ending: threading.Event) -> None:
    """End this process when the server ends by itself, with the last that it wrote to `log` after `start`."""
    status = server.wait()
    with log.open("rb") as written:
        written.seek(max(start, log.stat().st_size - _LAST_BYTES))
        print(written.read().decode(errors="replace"), file=sys.stderr, flush=True)
    if not ending.is_set():
        os._exit(status if 0 < status < 256 else 1)


if __name__ == "__main__":
    main()
