"""The asset `report`: an experiment's report as a page. It is no stage.

It has no table and decides no row, so nothing becomes stale by it.
"""

# No `from __future__ import annotations`: Dagster reads the types of an asset's function.
import time

import dagster as dg

from sand_dagster.assets.metadata import tags_of
from sand_dagster.errors import ArtifactError
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.reports.places import PORT, address, report_folder
from sand_dagster.reports.writing import NotAReport, write_report
from sand_dagster.resources.artifacts import Artifacts

NAME = "report"


def report_of(experiment: Experiment, partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """The asset of one experiment: made after each iteration, of all that is evaluated until then."""

    @dg.asset(
        key=[experiment.name, NAME],
        deps=[dg.AssetKey([experiment.name, "eval_scores"])],
        partitions_def=partitions,
        group_name=experiment.group,
        description="The report: tables, figures and a reader of every episode, as a page that opens in a "
        "browser. Each iteration writes it again, with all iterations before. It decides nothing.",
        tags=tags_of(experiment),
        kinds={"html"},
        owners=["team:sand"],
        op_tags={"dagster/priority": "-100"},  # after every stage
        config_schema={},  # else the launchpad offers "Any"
    )
    def report(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult[None]:
        store = artifacts.store(experiment.name)
        begun = time.monotonic()
        try:
            page = write_report([experiment.name], report_folder(store.home, experiment.name), store.home)
        except (ArtifactError, NotAReport) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        scores = page.parent / "tables" / "table-2.md"
        context.log.info(f"{page} was written")
        return dg.MaterializeResult(
            metadata={
                "page": dg.MetadataValue.path(page),
                "link": dg.MetadataValue.url(address(PORT, [experiment.name])),
                "link_works_while": f"`sand view {experiment.name}` runs. A browser follows no link "
                "from this page to a file",
                "seconds": dg.MetadataValue.float(time.monotonic() - begun),
                "scores": dg.MetadataValue.md(scores.read_text(encoding="utf-8")),
            }
        )

    return report
