"""The trajectories of an iteration as rows of a file."""

from __future__ import annotations

from typing import Any

from sand_dagster.artifacts.recorded import stored_tasks
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.errors import ArtifactError
from sand_dagster.exports.records import StepValues, Turns, record_row, step_values
from sand_dagster.interfaces import Domain
from sand_dagster.rows.experts import ImportRow
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow, StepRow
from sand_dagster.sand.trajectories import demonstrations_of

Exported = type[DemonstrationRow] | type[DeliberationRow]
"""The rows of D_exp or of D_delib."""


def trajectory_rows(
    store: ArtifactStore, domain: Domain, kind: Exported, iteration: str, turns: Turns
) -> list[dict[str, Any]]:
    """The trajectories of D_exp or D_delib, in their order.

    A trajectory that came from a file has the id that it had there.

    Raises:
        MissingArtifact: the partition or the tasks are not complete.
        ArtifactError: a trajectory's task is not among the tasks.
    """
    demonstrations = demonstrations_of(rows_of(store, kind, iteration))
    tasks = stored_tasks(store)
    if unknown := sorted({each.task_id for each in demonstrations} - tasks.keys()):
        raise ArtifactError(
            f"{store.experiment}: {kind.table} for iteration {iteration} names tasks that are not in table "
            f"tasks: {', '.join(unknown[:3])}. Materialise both again"
        )
    record_ids = _record_ids(store)
    return [
        record_row(
            domain,
            demonstration.trajectory(tasks[demonstration.task_id]),
            turns,
            record_id=record_ids.get(demonstration.id, ""),
            steps=[_values(row) for row in demonstration.rows],
        )
        for demonstration in demonstrations
    ]


def _values(row: StepRow) -> StepValues:
    origin = {"step_id": row.step_id, "deliberated": row.deliberated, "origin": row.origin.value}
    return {**step_values(row.step), **origin}


def _record_ids(store: ArtifactStore) -> dict[str, str]:
    """The ids that trajectories had in the file that they were imported from."""
    if store.manifest(ImportRow.table, None) is None:
        return {}
    return {row.trajectory_id: row.record_id for row in rows_of(store, ImportRow, None) if row.kept}
