"""The Dagster instance in `$SAND_HOME`, and runs in it whose process was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from sand_dagster.home import locked

PROCESS = "sand/process"
"""Run tag: the process that executes the run, as `pid:start time:run id`.

A run that re-executes another inherits its tags, so the tag says which run it speaks of."""

_SETTINGS = """\
telemetry:
  enabled: false
concurrency:
  pools:
    default_limit: 1
  # The iterations of a backfill run in order, one at a time: each goes on from the one before.
  runs:
    tag_concurrency_limits:
      - key: dagster/backfill
        value:
          applyLimitPerUniqueValue: true
        limit: 1
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 30
"""

_EARLIER_SETTINGS = """\
telemetry:
  enabled: false
concurrency:
  pools:
    default_limit: 1
run_monitoring:
  enabled: true
  free_slots_after_run_end_seconds: 30
"""
"""What earlier versions wrote; replaced, unless somebody has changed it."""


def dagster_home(home: Path) -> Path:
    """The folder of the Dagster instance, made and set up at first use; `DAGSTER_HOME` is set to it."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists() or settings.read_text() == _EARLIER_SETTINGS:
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


def mark_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """Record that this process executes the run, told apart from a later process with the same number."""
    identity = _identity(os.getpid())
    if identity is not None:
        instance.add_run_tags(run_id, {PROCESS: f"{identity}:{run_id}"})


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
    unfinished = dg.RunsFilter(
        statuses=[
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.CANCELING,
        ]
    )
    for run in instance.get_runs(unfinished):
        process, _, marked = run.tags.get(PROCESS, "").rpartition(":")
        if marked != run.run_id or _identity(int(process.split(":")[0])) == process:
            continue
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, "The run was terminated, and its process is gone.")
        else:
            instance.report_run_failed(run, "The process that executed this run was killed.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        ended.append(run.run_id)
    _free_slots(instance)
    return ended


def _free_slots(instance: dg.DagsterInstance) -> None:
    """Free the slots of pools that runs hold which have ended; Dagster itself takes some minutes."""
    storage = instance.event_log_storage
    for pool in storage.get_concurrency_keys():
        for run_id in {slot.run_id for slot in storage.get_concurrency_info(pool).claimed_slots}:
            run = instance.get_run_by_id(run_id)
            if run is None or run.is_finished:
                storage.free_concurrency_slots_for_run(run_id)
