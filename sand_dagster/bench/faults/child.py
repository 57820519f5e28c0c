"""`sand` in a process forked from one that has imported everything: half a second instead of ten.

This module is what the fork server imports first.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Self

from sand_dagster.bench.faults.trainer import command

CLOCK = "SAND_BENCH_CLOCK"
"""Two numbers: so many seconds the clock jumps by, so many seconds after the start."""

TELL_THE_TIME = (
    "sand_dagster.artifacts.store",
    "sand_dagster.jobs.instance",
    "sand_dagster.jobs.shared_home",
    "dagster._time",
)
"""Modules that call `datetime.now`, not `time.time`: for manifests, notes and Dagster's runs."""

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
    tempfile.tempdir = None  # the fork server has asked for the folder before
    from sand_dagster.training.launching import Processes

    Processes.command = command  # type: ignore[method-assign, assignment]
    if CLOCK in environment:
        let_the_clock_jump(*map(float, environment[CLOCK].split()))
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


def let_the_clock_jump(by: float, after_s: float) -> None:
    """After `after_s` seconds, `time.time` and `datetime.now` give a time that is `by` seconds later."""
    real, real_ns = time.time, time.time_ns
    offset = 0.0

    def jump() -> None:
        nonlocal offset
        offset = by

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: real() + offset
    time.time_ns = lambda: real_ns() + int(offset * 1e9)
    for name in TELL_THE_TIME:
        vars(importlib.import_module(name))["datetime"] = Moved
    timer = threading.Timer(after_s, jump)
    timer.daemon = True
    timer.start()
