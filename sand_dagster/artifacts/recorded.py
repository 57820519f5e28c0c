"""Stored steps and episodes as trajectories again, to be replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.errors import ArtifactError
from sand_dagster.rows.candidates import RolloutRow
from sand_dagster.rows.evaluation import EpisodeRow
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow, ExpertRow, StepRow
from sand_dagster.rows.tasks import TaskRow
from sand_dagster.sand.trajectories import Demonstration, demonstrations_of
from sand_dagster.types import Task, Trajectory

_STEPS: dict[str, type[StepRow]] = {
    kind.table: kind for kind in (ExpertRow, DemonstrationRow, DeliberationRow)
}
REPLAYABLE = (*_STEPS, RolloutRow.table, EpisodeRow.table)
"""The tables that hold what was played."""


def locate_partition(file: Path) -> tuple[ArtifactStore, str, str | None]:
    """The store, table and iteration that a file of a partition belongs to.

    Raises:
        ArtifactError: the file is not in a partition of a table that can be replayed.
    """
    folder = file.absolute().parent
    iteration = None
    if folder.name.startswith("iteration="):
        iteration, folder = folder.name.removeprefix("iteration="), folder.parent
    if folder.name not in REPLAYABLE or TABLES[folder.name].partitioned != (iteration is not None):
        raise ArtifactError(
            f"{file} is not a table's file in its place: expected "
            "$SAND_HOME/<experiment>/<table>/[iteration=<k>/]data.parquet with a table of "
            f"{', '.join(REPLAYABLE)}"
        )
    return ArtifactStore(folder.parent.parent, folder.parent.name), folder.name, iteration


def stored_tasks(store: ArtifactStore) -> dict[str, Task]:
    """The tasks of an experiment by id.

    Raises:
        MissingArtifact: they are not complete.
    """
    return {row.task_id: _task(row) for row in rows_of(store, TaskRow, None)}


def recorded(store: ArtifactStore, table: str, iteration: str | None) -> list[Trajectory]:
    """The trajectories in a partition of one of the `REPLAYABLE` tables, in its order.

    A rollout's trajectory starts with the steps of its demonstration before the candidate.

    Raises:
        MissingArtifact: the partition, the tasks, or a rollout's demonstrations are not complete.
        ArtifactError: a row's task or demonstration is not there.
    """
    store.data(table, iteration)  # so that damage to the requested table is reported first
    tasks = stored_tasks(store)
    if table in _STEPS:
        steps = demonstrations_of(rows_of(store, _STEPS[table], iteration))
        _require(table, {demonstration.task_id for demonstration in steps} - tasks.keys())
        return [demonstration.trajectory(tasks[demonstration.task_id]) for demonstration in steps]
    if table == RolloutRow.table:
        return list(_rollouts(store, iteration, tasks))
    episodes = rows_of(store, EpisodeRow, iteration)
    _require(table, {episode.task_id for episode in episodes} - tasks.keys())
    return [
        Trajectory(
            episode.episode_id,
            tasks[episode.task_id],
            episode.instruction,
            [turn.step for turn in episode.steps],
            episode.reward,
        )
        for episode in episodes
    ]


def _require(table: str, unknown: set[str]) -> None:
    """No task is `unknown`."""
    if unknown:
        raise ArtifactError(
            f"table {table} names tasks that are not in table tasks: {', '.join(sorted(unknown))}"
        )


def _rollouts(store: ArtifactStore, iteration: str | None, tasks: Mapping[str, Task]) -> Iterator[Trajectory]:
    place: dict[str, tuple[Demonstration, int]] = {}
    for demonstration in demonstrations_of(rows_of(store, DemonstrationRow, iteration)):
        for row in demonstration.rows:
            place[row.step_id] = demonstration, row.index
    rollouts = rows_of(store, RolloutRow, iteration)
    _require(RolloutRow.table, {rollout.task_id for rollout in rollouts} - tasks.keys())
    for rollout in rollouts:
        if rollout.step_id not in place:
            raise ArtifactError(
                f"rollout {rollout.rollout_id} was played from step {rollout.step_id}, which is not in the "
                f"demonstrations of iteration {iteration}. Materialise both again"
            )
        demonstration, index = place[rollout.step_id]
        steps = [*demonstration.history(index), *(turn.step for turn in rollout.steps)]
        task = tasks[rollout.task_id]
        yield Trajectory(rollout.rollout_id, task, demonstration.instruction, steps, rollout.reward)


def _task(row: TaskRow) -> Task:
    return Task(
        row.task_id, row.environment, row.split, row.kind, row.step_limit, json.loads(row.spec), row.content
    )
