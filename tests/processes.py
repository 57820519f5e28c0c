"""Checks of processes that a test has ended."""

from __future__ import annotations

import time
from pathlib import Path


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
