"""A long command that is interrupted says by what, and what is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

_INTERRUPTED = """
import os, sys, time
def interrupted(*_):
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(60)
import {module}
{module}.{function} = interrupted
from sand_dagster.cli import app
app(sys.argv[2:])
"""


@pytest.mark.parametrize(
    ("number", "function", "arguments", "kept"),
    [
        (signal.SIGINT, "sand_dagster.downloads.fetching.fetch", "data download eto", "What came is kept"),
        (
            signal.SIGTERM,
            "sand_dagster.exports.destination.export_to",
            "export household 01 --format model --out x",
            "Nothing",
        ),
        (
            signal.SIGTERM,
            "sand_dagster.bench.lineage.run",
            "bench lineage --rows 1000",
            "No figures were written",
        ),
        (signal.SIGTERM, "sand_dagster.audit.asking.questions", "ask", "Each file that was written is whole"),
    ],
)
def test_an_interrupted_command_says_what_is_kept(
    home: Path, number: signal.Signals, function: str, arguments: str, kept: str
) -> None:
    module, _, name = function.rpartition(".")
    code = _INTERRUPTED.format(module=module, function=name)
    ended = subprocess.run(
        [sys.executable, "-c", code, str(int(number)), *arguments.split()],
        cwd=home,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 128 + number
    assert ended.stderr.splitlines()[-1].startswith(f"sand: interrupted by {number.name}. {kept}")
    assert "Traceback" not in ended.stderr
    assert not (home / "x").exists()
