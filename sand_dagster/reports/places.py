"""Where reports are: in which folder, and at which address while they are served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE, SUMMARY = "index.html", "report.md"
"""A report's page, and its tables as one Markdown file."""

LOOPBACK = "127.0.0.1"
PORT = 8765
"""Where `sand view` serves, unless another port is given."""


def report_folder(home: Path, experiment: str) -> Path:
    """The folder of the experiment's report; it need not exist."""
    return home / "reports" / experiment


def address(port: int, names: Sequence[str]) -> str:
    """Of the report of the experiments `names` on this machine."""
    return f"http://{LOOPBACK}:{port}{path(names)}"


def path(names: Sequence[str]) -> str:
    """The part of the address after the port."""
    return f"/{'+'.join(names)}/"
