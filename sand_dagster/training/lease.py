"""A training ends with the run that asked for it, whatever machine it is on.

Here it ends when the pipe on its standard input closes. Elsewhere there is no such pipe, but the shared
folder: the run keeps touching a file there, and the training ends when it is not touched any more, or names
another run.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

VARIABLE = "SAND_TRAINING_LEASE"
"""The environment variable in which a training elsewhere finds its lease's name."""

LOST_S = 180.0
"""A training ends when its lease has not been touched for so long; shared filesystems show changes late."""
_TOUCH_S = 10.0
_LOOK_S = 5.0
_FILE = "lease"


@contextmanager
def held(job: Path) -> Iterator[str]:
    """Hold the lease of the training of the file `job`, and take it from whoever had it; yields its name."""
    path, name, ended = job.with_name(_FILE), uuid4().hex, threading.Event()
    path.write_text(name)

    def touch() -> None:
        while not ended.wait(_TOUCH_S):
            path.touch()

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield name
    finally:
        ended.set()
        thread.join()
        path.unlink(missing_ok=True)


def end_with_the_run(job: Path) -> None:
    """End this process, which does the `job`, as soon as the run that asked for it has ended."""
    if name := os.environ.get(VARIABLE):
        threading.Thread(target=_watch, args=(job.with_name(_FILE), name), daemon=True).start()
    elif stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_wait_for_the_pipe, daemon=True).start()


def _watch(path: Path, name: str) -> None:
    touched, seen = 0, time.monotonic()
    while True:
        try:
            holder, last = path.read_text(), path.stat().st_mtime_ns
        except FileNotFoundError:
            os._exit(1)
        except OSError:  # the filesystem does not answer at the moment
            holder, last = name, touched
        if last != touched:
            touched, seen = last, time.monotonic()
        if holder != name or time.monotonic() - seen > LOST_S:
            os._exit(1)
        time.sleep(_LOOK_S)


def _wait_for_the_pipe() -> None:
    while os.read(0, 4096):  # unbuffered: a lock held at exit would abort the process
        pass
    os._exit(1)
