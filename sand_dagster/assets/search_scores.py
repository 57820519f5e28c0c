"""Test-time search's scores."""

import dagster as dg

from sand_dagster.assets.definition import stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.evaluation.search import search_scores as score
from sand_dagster.rows.search import SearchEpisodeRow


@stage(
    reads=("search_episodes",),
    settings=("protocol", "seed"),
    modules=("sand_dagster.evaluation.search",),
    kinds=frozenset({"parquet"}),
)
def search_scores(run: StageRun) -> Result:
    """Average reward and tokens a task of each mode, split, and number of samples, with 95 % intervals."""
    rows = score(run.rows(SearchEpisodeRow), run.experiment.protocol, run.experiment.seed)
    metadata = {
        f"average_reward_{row.split}_{row.mode}_{row.samples}": dg.MetadataValue.float(row.average_reward)
        for row in rows
    }
    return Result(rows, metadata=metadata)
