"""A folder for the temporary files of a process that we start, so that none outlive it.

vLLM leaves a socket or two of every engine in the folder for temporary files, and torchrun its logs.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "sand-"  # short: an address of a socket has 107 characters at most
_HELD = "held"
"""A file that is locked as long as the folder is in use; the system lets it go if we are killed."""
COMPILED = "TORCHINDUCTOR_CACHE_DIR"
"""Where torch keeps compiled code for later processes. Its default is in the folder for temporary files."""


@contextmanager
def scratch() -> Iterator[dict[str, str]]:
    """The environment variables that give a process a folder of its own, which is removed at the end.

    A process that may end after this one calls `remove_own`. What was left where both were killed is removed
    by the next call of this.
    """
    _remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    made = folder / "new"
    with made.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        made.rename(folder / _HELD)
        try:
            yield {"TMPDIR": str(folder), COMPILED: os.environ.get(COMPILED) or _default_cache()}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_own() -> None:
    """Remove the folder that `scratch` gave to this process, which is about to end after its parent."""
    folder = Path(os.environ.get("TMPDIR", ""))
    if folder.name.startswith(_PREFIX) and (folder / _HELD).exists():
        shutil.rmtree(folder, ignore_errors=True)


def _default_cache() -> str:
    """torch's own, one for each user."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user has a number only
        user = f"uid_{os.getuid()}"
    return str(Path(tempfile.gettempdir()) / f"torchinductor_{user}")


def _remove_abandoned() -> None:
    for held in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_HELD}"):
        with suppress(OSError):  # it is in use, is just being removed, or is another user's
            file = os.open(held, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(held.parent, ignore_errors=True)
            finally:
                os.close(file)
