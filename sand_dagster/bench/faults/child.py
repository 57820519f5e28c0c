"""`sand` in a process forked from one that has imported everything: half a second instead of ten.

This module is what the fork server imports first.
"""

from __future__ import annotations

import atexit
import importlib
import os
import random
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from sand_dagster.bench.faults.trainer import command

CLOCK = "SAND_BENCH_CLOCK"
"""Seconds that the clock jumps by, at some moment of the run."""

MARK = "SAND_BENCH_MARK"
"""In the environment of every process of a run, so that processes that are left over can be found."""

PRELOADED = [
    "sand_dagster.bench.faults.child",
    "sand_dagster.definitions",
    "sand_dagster.models.endpoint",
    "sand_dagster.jobs.run",
    "sand_dagster.training.plots",
    "pyarrow.parquet",
    "duckdb",
    "matplotlib.backends.backend_agg",
    "openai.resources.chat",
    "huggingface_hub.errors",
    "alembic.command",
    "sqlalchemy.dialects.sqlite",
    "dagster._core.execution.execute_in_process",
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
    "dagster._core.storage.schedules.sqlite.sqlite_schedule_storage",
    "dagster._core.scheduler.scheduler",
    "dagster._core.remote_representation.external_data",
]
"""Modules that a run imports later; one that cannot be imported is skipped."""


def start(
    context: ForkServerContext, sand: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
) -> ForkServerProcess:
    """Start `sand`, the full name of a function, with `arguments`; its output goes to the file `log`."""
    process = context.Process(target=_main, args=(sand, list(arguments), dict(environment), str(log)))
    process.start()
    return process


def _main(sand: str, arguments: list[str], environment: dict[str, str], log: str) -> None:
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.environ.clear()
    os.environ.update(environment)
    from sand_dagster.training.launching import Processes

    Processes.command = command  # type: ignore[method-assign, assignment]
    if CLOCK in environment:
        _let_the_clock_jump(float(environment[CLOCK]))
    module, _, name = sand.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    code: object = 0
    try:
        function(arguments)
    except SystemExit as ended:
        code = ended.code
    finally:
        # A forked process does not run these by itself.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def _let_the_clock_jump(by: float) -> None:
    """From a moment within the next seconds, `time.time` returns another time."""
    real, real_ns = time.time, time.time_ns
    offset = 0.0

    def jump() -> None:
        nonlocal offset
        offset = by

    time.time = lambda: real() + offset
    time.time_ns = lambda: real_ns() + int(offset * 1e9)
    timer = threading.Timer(random.Random(by).uniform(0, 2), jump)
    timer.daemon = True
    timer.start()
