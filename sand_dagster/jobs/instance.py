"""The Dagster instance in `$SAND_HOME`, and runs in it whose process was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from sand_dagster.home import locked

PROCESS = "sand/process"
"""Run tag: the process that executes the run, as `pid:start time`."""

_SETTINGS = """\
telemetry:
  enabled: false
concurrency:
  pools:
    default_limit: 1
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 30
"""


def dagster_home(home: Path) -> Path:
    """The folder of the Dagster instance, made and set up at first use; `DAGSTER_HOME` is set to it."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        settings.write_text(_SETTINGS)
        # Dagster's UI covers the graph with a newsletter form until this file exists.
        (folder / ".nux").mkdir(exist_ok=True)
        (folder / ".nux" / "nux.yaml").write_text("seen: 1\n")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


@contextmanager
def opened(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance. Where several processes are its first at once, one sets it up, the others wait."""
    with locked(home / "dagster"):
        dagster_home(home)
        instance = dg.DagsterInstance.get()
    with instance:
        yield instance


def this_process() -> str:
    """This process, told apart from a later one with the same number."""
    return _identity(os.getpid()) or str(os.getpid())


def _identity(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The 22nd field, counted after the parenthesised name that may hold spaces: start time in ticks.
    return f"{pid}:{stat.rpartition(')')[2].split()[19]}"


def end_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs whose process is gone as failed and free their pool slots; returns their ids.

    Dagster cannot tell: a process that was killed reports nothing.
    """
    ended = []
    unfinished = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING])
    for run in instance.get_runs(unfinished):
        process = run.tags.get(PROCESS)
        if process is None or _identity(int(process.split(":")[0])) == process:
            continue
        instance.report_run_failed(run, "The process that executed this run was killed.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    return ended
