"""The processes that are kept for later engines end with this one, and leave nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_KEEPING = """
import asyncio, os, signal
from sand_dagster.execution.child import Child
from sand_dagster.models import replicas
from sand_dagster.models.engines import engines

async def keep():
    child = await Child.start("sand_dagster.models.engine_process", "engine")
    replicas._kept.setdefault(asyncio.get_running_loop(), []).append(child)
    os.kill(child.pid, signal.SIGSTOP)  # as one that is too busy to end by itself

engines.run(keep())
"""


def test_one_that_does_not_end_is_killed_and_its_temporary_files_go(tmp_path: Path) -> None:
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TMPDIR": str(tmp_path),
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled"),
    }
    subprocess.run([sys.executable, "-c", _KEEPING], env=variables, check=True, timeout=120)
    assert {path.name for path in tmp_path.iterdir()} <= {"compiled"}
