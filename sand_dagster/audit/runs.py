"""Dagster's runs and their events as rows, for SQL."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from sand_dagster.artifacts.sql import Extra

RUNS = {
    "run_id": "id of the run; a manifest names the one that wrote it",
    "job": "the job",
    "status": "SUCCESS, FAILURE, CANCELED, STARTED, …",
    "iteration": "the partition; null if the run had none",
    "started_at": "when it began",
    "ended_at": "when it ended; null: it has not ended",
    "seconds": "how long it took",
    "tags": "JSON: the run's tags",
}

EVENTS = {
    "run_id": "the run",
    "at": "when",
    "step": "the asset's step, such as household__rollouts; null for the run itself",
    "type": "STEP_START, ASSET_MATERIALIZATION, STEP_FAILURE, …; null for a line of the log",
    "level": "of the log: 10 debug, 20 info, 30 warning, 40 error",
    "message": "the text",
}

_TIME = pl.Datetime("us", "UTC")


def extras(home: Path) -> dict[str, Extra]:
    """The views `runs` and `events`; without rows if nothing was run in this home."""
    return {
        "runs": Extra(partial(_runs, home), RUNS),
        "events": Extra(partial(_events, home), EVENTS),
    }


def _runs(home: Path) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    if (home / "dagster").is_dir():
        from sand_dagster.jobs.instance import opened

        with opened(home) as instance:
            for record in instance.get_run_records():
                run, start, end = record.dagster_run, record.start_time, record.end_time
                rows.append(
                    {
                        "run_id": run.run_id,
                        "job": run.job_name,
                        "status": run.status.value,
                        "iteration": run.tags.get("dagster/partition"),
                        "started_at": _time(start),
                        "ended_at": _time(end),
                        "seconds": end - start if start and end else None,
                        "tags": json.dumps(dict(run.tags)),
                    }
                )
    types: dict[str, Any] = {"started_at": _TIME, "ended_at": _TIME, "seconds": pl.Float64}
    return pl.DataFrame(rows, schema={name: types.get(name, pl.String) for name in RUNS})


def _events(home: Path) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    if (home / "dagster").is_dir():
        from sand_dagster.jobs.instance import opened

        with opened(home) as instance:
            for run in instance.get_runs():
                for entry in instance.all_logs(run.run_id):
                    event = entry.dagster_event
                    rows.append(
                        {
                            "run_id": run.run_id,
                            "at": _time(entry.timestamp),
                            "step": entry.step_key,
                            "type": event.event_type_value if event else None,
                            "level": int(entry.level),
                            "message": (event.message if event else None) or entry.user_message,
                        }
                    )
    types: dict[str, Any] = {"at": _TIME, "level": pl.Int64}
    return pl.DataFrame(rows, schema={name: types.get(name, pl.String) for name in EVENTS})


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
