"""The Dagster instance in `$SAND_HOME`, and runs in it whose process was killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import dagster as dg
import yaml

from sand_dagster.assets.asset import GPU_POOL
from sand_dagster.errors import ExperimentBusy, InstanceError
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.files import write_text, write_whole
from sand_dagster.home import lives, locked, this_process
from sand_dagster.jobs.shared_home import check_filesystem, check_orchestrator

PROCESS = "sand/process"
"""Run tag: the process that executes the run, as `pid:start time:run id`.

A run that re-executes another inherits its tags, so the tag says which run it speaks of."""

HOLDER = "holder.json"
"""In an experiment's folder: which process runs it."""

_UNFINISHED = dg.RunsFilter(
    statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
)

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


POSTGRES = "SAND_POSTGRES_URL"
"""Environment variable: the PostgreSQL database of a team's instance (docs/team.md)."""

_DRIVER = "postgresql+psycopg2://"
_POSTGRES_SETTINGS = f"""\
# The URL has a password, so it is not in this file.
storage:
  postgres:
    postgres_url:
      env: {POSTGRES}
"""


def dagster_home(home: Path) -> Path:
    """The folder of the Dagster instance, made and set up at first use; `DAGSTER_HOME` is set to it.

    If $SAND_POSTGRES_URL is set, the instance is in that database, else in files.

    Raises:
        InstanceError: its settings cannot be used.
    """
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    wanted = _SETTINGS + (_POSTGRES_SETTINGS if os.environ.get(POSTGRES) else "")
    replaced = {_EARLIER_SETTINGS} | ({_SETTINGS} if os.environ.get(POSTGRES) else set())
    if not _usable(settings) or settings.read_text() in replaced:
        write_text(settings, wanted)
        # Dagster's UI covers the graph with a newsletter form until this file exists.
        (folder / ".nux").mkdir(exist_ok=True)
        write_text(folder / ".nux" / "nux.yaml", "seen: 1\n")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def _usable(settings: Path) -> bool:
    """Whether there are settings; an empty file is what a full disk left of them.

    Raises:
        InstanceError: the file holds something else.
    """
    remedy = f"Mend it, or remove it: a new one is then written (rm {settings})"
    try:
        found = yaml.safe_load(settings.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise InstanceError(f"{settings}, the settings of Dagster, is not YAML: {said}. {remedy}") from None
    if found is not None and not isinstance(found, dict):
        raise InstanceError(
            f"{settings}, the settings of Dagster: expected a mapping of fields, found "
            f"{type(found).__name__}. {remedy}"
        )
    return bool(found)


@contextmanager
def opened(home: Path, *, to_run: bool = False) -> Iterator[dg.DagsterInstance]:
    """The instance. Where several processes are its first at once, one sets it up, the others wait.

    With `to_run`, the home is also checked for what runs need (`shared_home`).

    Raises:
        InstanceError: its settings or its database cannot be used, or runs cannot be started here.
    """
    settings = home / "dagster" / "dagster.yaml"
    with locked(home / "dagster"):
        before = settings.read_bytes() if settings.is_file() else None
        folder = dagster_home(home)
        if to_run:
            check_filesystem(folder)
        try:
            instance = _instance(folder)
        except (dg.DagsterInvalidConfigError, dg.DagsterInvariantViolationError) as error:
            said = " ".join(str(error).split())
            raise InstanceError(
                f"{folder / 'dagster.yaml'}, the settings of Dagster, cannot be used: {said}. Mend the file, "
                "or remove it: a new one is then written"
            ) from None
        except InstanceError:
            # A mistyped URL must not move an instance from its files to a database that is not there.
            if before is None:
                settings.unlink()
            else:
                write_whole(settings, partial(Path.write_bytes, data=before))
            raise
        _set_up_pool(instance)
        if to_run:
            check_orchestrator(folder, [run.run_id for run in instance.get_runs(_UNFINISHED)])
    with instance:
        yield instance


def _instance(folder: Path) -> dg.DagsterInstance:
    """
    Raises:
        InstanceError: its database is not named, or cannot be used.
    """
    in_database = POSTGRES in (folder / "dagster.yaml").read_text()
    if not in_database:
        return dg.DagsterInstance.get()
    if not os.environ.get(POSTGRES):
        raise InstanceError(
            f"the instance in {folder} is in a PostgreSQL database, and {POSTGRES} is not set. Set it to the "
            f"database's URL, such as {_DRIVER}sand:PASSWORD@127.0.0.1:5432/sand (docs/team.md)"
        )
    if not os.environ[POSTGRES].startswith(_DRIVER):
        # SQLAlchemy would take another driver than the one that dagster-postgres installs.
        raise InstanceError(f"the URL in {POSTGRES} has to begin with {_DRIVER} (docs/team.md)")
    try:
        from dagster_postgres.utils import DagsterPostgresException
    except ModuleNotFoundError:
        raise InstanceError(
            f"{POSTGRES} is set, but the package dagster-postgres is not installed. Install the extra `team` "
            "(docs/team.md)"
        ) from None
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return dg.DagsterInstance.get()
    except (DagsterPostgresException, SQLAlchemyError) as error:
        raise InstanceError(
            f"the database that {POSTGRES} names cannot be used: {type(error.__cause__ or error).__name__}. "
            "Check that the server runs, and the user, password and database of the URL"
        ) from None


def _set_up_pool(instance: dg.DagsterInstance) -> None:
    """Make the pool of the GPUs, with the limit that the settings have now.

    Dagster does it when a step first asks for the pool. In PostgreSQL that fails where two runs ask at once,
    and where the settings have another limit than the pool: it goes on in a transaction that has failed.
    """
    storage, limit = instance.event_log_storage, instance.global_op_concurrency_default_limit
    pool = next((pool for pool in storage.get_pool_limits() if pool.name == GPU_POOL), None)
    if limit is None or (pool is not None and (pool.limit == limit or not pool.from_default)):
        return
    if pool is not None:
        storage.delete_concurrency_limit(GPU_POOL)  # what is held of it stays held until it is freed
    storage.initialize_concurrency_limit_to_default(GPU_POOL)


def mark_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """Record which process executes the run. A later process with the same number is not taken for it."""
    instance.add_run_tags(run_id, {PROCESS: f"{this_process()}:{run_id}"})


def process_of(run: dg.DagsterRun) -> str | None:
    """The process that executes the run, as `this_process` names it; None where it is not recorded."""
    process, _, marked = run.tags.get(PROCESS, "").rpartition(":")
    return process if marked == run.run_id else None


def prepare(home: Path) -> None:
    """Set the instance up for Dagster's UI; a run whose process was killed holds no slot of a pool any more.

    Raises:
        InstanceError: its settings cannot be used.
    """
    with opened(home, to_run=True) as instance:
        end_killed_runs(instance)


@contextmanager
def holding(home: Path, experiment: str, doing: str) -> Iterator[None]:
    """Hold `experiment` for this process alone; a note in its folder says who does, and since when.

    A holder that has ended holds nothing, however it ended.

    Raises:
        ExperimentBusy: another process holds it; the message says which, and since when.
    """
    note = home / experiment / HOLDER
    with locked(home / experiment):
        holder = _holder(note)
        if holder is not None:
            raise ExperimentBusy(
                f"experiment {experiment} is held by process {holder['process'].split(':')[0]} "
                f"({holder['doing']}) since {holder['since']}. Wait until it has ended, or end it "
                f"(kill {holder['process'].split(':')[0]})"
            )
        note.parent.mkdir(parents=True, exist_ok=True)
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        write_text(note, json.dumps({"process": this_process(), "doing": doing, "since": since}))
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def _holder(note: Path) -> dict[str, str] | None:
    """Who holds the experiment; None where nobody does, or who did has ended."""
    try:
        holder: dict[str, str] = json.loads(note.read_text())
        return holder if lives(holder["process"]) and {"doing", "since"} <= holder.keys() else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def running_elsewhere(instance: dg.DagsterInstance, experiment: Experiment) -> dg.DagsterRun | None:
    """An unfinished run of `experiment` in another process that lives, such as one from the UI."""
    for run in instance.get_runs(_UNFINISHED):
        process = process_of(run)
        if process is None or process == this_process() or not lives(process):
            continue
        keys = {key.path[0] for key in run.asset_selection or ()}
        if experiment.name in keys or run.job_name in (experiment.group, f"{experiment.group}_setup"):
            return run
    return None


def end_killed_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs whose process is gone as failed and free their pool slots; returns their ids.

    Dagster cannot tell: a process that was killed reports nothing.
    """
    ended = []
    for run in instance.get_runs(_UNFINISHED):
        process = process_of(run)
        if process is None or lives(process):
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
