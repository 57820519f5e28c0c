"""What has to be true of `$SAND_HOME` when several people use it: its filesystem, and the one orchestrator.

Which process holds an experiment, and whether the process of a run still lives, is known by process numbers.
So all runs, the daemon and the webserver have to be on one machine (or in one container), although the home
may be on a filesystem that other machines see too.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sand_dagster.errors import DiskFull, InstanceError, is_disk_full
from sand_dagster.files import write_text

_NOTE = "orchestrator.json"
"""In the instance's folder: the machine whose processes its runs are."""

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def check_filesystem(folder: Path) -> None:
    """Try locks and renames in `folder`, as the project uses them.

    Raises:
        InstanceError: they do not work there.
    """
    probe = folder / f".probe-{os.getpid()}"
    other = folder / f".probe-{os.getpid()}-new"
    try:
        probe.write_text("old")
        with probe.open() as first, probe.open() as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _locks(second.fileno()):
                raise InstanceError(_refused(folder, "two processes can hold the same lock"))
        other.write_text("new")
        other.replace(probe)
        if probe.read_text() != "new" or other.exists():
            raise InstanceError(_refused(folder, "a renamed file does not replace the one before"))
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull(probe) from error
        if error.errno not in _NO_LOCKS:
            raise
        raise InstanceError(_refused(folder, str(error))) from error
    finally:
        probe.unlink(missing_ok=True)
        other.unlink(missing_ok=True)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _refused(folder: Path, found: str) -> str:
    return (
        f"the filesystem of {folder} does not have working locks (flock) and renames: {found}. Put SAND_HOME "
        "on another one: a local disk, NFS 4, or Lustre mounted with -o flock"
    )


def check_orchestrator(folder: Path, unfinished: Sequence[str]) -> None:
    """Note this machine as the orchestrator in the instance's `folder`.

    A machine that was started again, or a container with the same host name, is the same orchestrator.

    Args:
        folder: the instance's folder.
        unfinished: the ids of the runs that have not ended.

    Raises:
        InstanceError: another machine is the orchestrator, and has unfinished runs.
    """
    note = folder / _NOTE
    here = {"host": socket.gethostname(), "machine": _machine()}
    try:
        found = json.loads(note.read_text())
        host, machine, since = found["host"], found["machine"], found["since"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        host = machine = since = None
    if machine == here["machine"]:
        return
    if host is not None and host != here["host"] and unfinished:
        raise InstanceError(
            f"the runs of {folder.parent} have been on the machine {host} since {since}, and not all have "
            f"ended ({', '.join(run[:8] for run in unfinished[:5])}). This is {here['host']}, which cannot "
            "see whether their processes live. Start runs there, or wait until they have ended. If that "
            f"machine is gone, remove {note}"
        )
    write_text(note, json.dumps(here | {"since": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")}))


def _machine() -> str:
    """This boot of this machine, and the namespace of its process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()
