"""Closing the loop by look-up: the previous iteration's materialisation, from Dagster's event log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dagster as dg

from sand_dagster.assets.run import StageRun


@dataclass(frozen=True, slots=True)
class PreviousMaterialisation:
    """Which materialisation of the previous iteration was found."""

    asset: dg.AssetKey
    iteration: str
    data_version: str
    run_id: str

    def metadata(self) -> dict[str, Any]:
        """For the asset that closes the loop: which row of history it goes on from, as links."""
        return {
            "previous_iteration": self.iteration,
            "previous_asset": dg.MetadataValue.asset(self.asset),
            "previous_run": dg.MetadataValue.dagster_run(self.run_id),
            "previous_data_version": self.data_version,
        }


def previous_materialisation(run: StageRun, asset: str) -> PreviousMaterialisation:
    """The latest materialisation of `asset` in the iteration before this run's.

    Raises:
        dagster.Failure: there is none, or the data on disk is another than it recorded.
    """
    iteration = f"{run.number - 1:02}"
    key = dg.AssetKey([run.experiment.name, asset])
    records = run.instance.fetch_materializations(
        dg.AssetRecordsFilter(key, asset_partitions=[iteration]), limit=1
    ).records
    what = f"{key.to_user_string()} for iteration {iteration}"
    if not records or records[0].asset_materialization is None:
        raise dg.Failure(
            f"iteration {run.iteration} goes on from {what}, which was never materialised in this Dagster "
            "instance. Materialise it first.",
            allow_retries=False,
        )
    tags = records[0].asset_materialization.tags or {}
    recorded = tags.get("dagster/data_version", "")
    stored = run.store.require(asset, iteration).content_hash
    if recorded != stored:
        raise dg.Failure(
            f"the latest materialisation of {what} recorded the data version {recorded}, but the data on "
            f"disk is {stored}. Materialise it again.",
            allow_retries=False,
        )
    return PreviousMaterialisation(key, iteration, recorded, records[0].run_id)
