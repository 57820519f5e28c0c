"""Processes and ports of tests."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import psutil

from sand_dagster.home import process_name


def gone(pid: int, within: float = 20.0) -> bool:
    """Whether the process ends in time; a zombie has ended."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def listening_beyond_loopback(pids: Iterable[int]) -> list[str]:
    """The addresses on which these processes accept connections of other machines."""
    found = []
    for pid in pids:
        with suppress(psutil.Error):  # it has ended
            found += [
                f"{connection.laddr.ip}:{connection.laddr.port} of process {pid}"
                for connection in psutil.Process(pid).net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
                and not ip_address(connection.laddr.ip.removeprefix("::ffff:")).is_loopback
            ]
    return found


def mark_of(pid: int, run_id: str) -> str:
    """The tag of a run that the process `pid` executes."""
    return f"{process_name(pid)}:{run_id}"


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
