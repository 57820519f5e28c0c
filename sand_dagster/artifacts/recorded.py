"""Stored steps and episodes as trajectories again, to be replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.errors import ArtifactError
from sand_dagster.sand.trajectories import Demonstration, demonstrations_of
from sand_dagster.types import Step, Task, Trajectory

_STEPS = ("expert_data", "expert_trajectories", "deliberation_trajectories")
REPLAYABLE = (*_STEPS, "rollouts", "eval_episodes")
"""The tables that hold what was played."""


def locate_partition(file: Path) -> tuple[ArtifactStore, str, str | None]:
    """The store, table and iteration that a file of a partition belongs to.

    Raises:
        ArtifactError: the file lies in no partition of a table that can be replayed.
    """
    folder = file.absolute().parent
    iteration = None
    if folder.name.startswith("iteration="):
        iteration, folder = folder.name.removeprefix("iteration="), folder.parent
    if folder.name not in REPLAYABLE or TABLES[folder.name].partitioned != (iteration is not None):
        raise ArtifactError(
            f"{file} is not where a table is kept: expected "
            "$SAND_HOME/<experiment>/<table>/[iteration=<k>/]data.parquet with a table of "
            f"{', '.join(REPLAYABLE)}"
        )
    return ArtifactStore(folder.parent.parent, folder.parent.name), folder.name, iteration


def stored_tasks(store: ArtifactStore) -> dict[str, Task]:
    """The tasks of an experiment by id.

    Raises:
        MissingArtifact: they are not complete.
    """
    return {row["task_id"]: _task(row) for row in store.read("tasks", None).iter_rows(named=True)}


def recorded(store: ArtifactStore, table: str, iteration: str | None) -> list[Trajectory]:
    """What was played in a partition of one of the `REPLAYABLE` tables, in its order.

    A rollout's trajectory begins with the steps of its demonstration that it was executed after.

    Raises:
        MissingArtifact: the partition, the tasks, or a rollout's demonstrations are not complete.
        ArtifactError: a row's task or demonstration is not there.
    """
    rows = store.read(table, iteration).to_dicts()
    tasks = stored_tasks(store)
    if unknown := {row["task_id"] for row in rows} - tasks.keys():
        raise ArtifactError(f"table {table} names tasks that table tasks lacks: {', '.join(sorted(unknown))}")
    if table in _STEPS:
        return [d.trajectory(tasks[d.task_id]) for d in demonstrations_of(rows)]
    if table == "rollouts":
        return list(_rollouts(store, iteration, rows, tasks))
    return [
        Trajectory(
            row["episode_id"], tasks[row["task_id"]], row["instruction"], _steps(row["steps"]), row["reward"]
        )
        for row in rows
    ]


def _rollouts(
    store: ArtifactStore, iteration: str | None, rows: list[dict[str, Any]], tasks: Mapping[str, Task]
) -> Iterator[Trajectory]:
    place: dict[str, tuple[Demonstration, int]] = {}
    for demonstration in demonstrations_of(store.read("expert_trajectories", iteration).to_dicts()):
        for row in demonstration.rows:
            place[row["step_id"]] = demonstration, row["index"]
    for row in rows:
        if row["step_id"] not in place:
            raise ArtifactError(
                f"rollout {row['rollout_id']} was played from step {row['step_id']}, which the "
                f"demonstrations of iteration {iteration} lack. Materialise both again"
            )
        demonstration, index = place[row["step_id"]]
        steps = [*demonstration.history(index), *_steps(row["steps"])]
        yield Trajectory(
            row["rollout_id"], tasks[row["task_id"]], demonstration.instruction, steps, row["reward"]
        )


def _steps(played: list[dict[str, Any]]) -> list[Step]:
    return [Step(step["thought"], step["action"], step["observation"]) for step in played]


def _task(row: Mapping[str, Any]) -> Task:
    return Task(
        row["task_id"],
        row["environment"],
        row["split"],
        row["kind"],
        row["step_limit"],
        json.loads(row["spec"]),
        row["content"],
    )
