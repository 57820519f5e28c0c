"""Evaluation's scores."""

import dagster as dg

from sand_dagster.assets.definition import stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.evaluation.scores import score
from sand_dagster.rows.evaluation import EpisodeRow


@stage(
    reads=("eval_episodes",),
    settings=("protocol", "seed"),
    modules=("sand_dagster.evaluation.scores",),
    kinds=frozenset({"parquet"}),
)
def eval_scores(run: StageRun) -> Result:
    """Average reward of each split, with its 95 % interval: the numbers of Table 2."""
    episodes = run.rows(EpisodeRow)
    rows = []
    metadata = {}
    for split in sorted({episode.split for episode in episodes}):
        chosen = [episode for episode in episodes if episode.split == split]
        row = score(chosen, chosen[0].checkpoint_id, split, run.experiment.protocol, run.experiment.seed)
        rows.append(row)
        metadata[f"average_reward_{split}"] = dg.MetadataValue.float(row.average_reward)
        metadata[f"deliberation_rate_{split}"] = dg.MetadataValue.float(row.deliberation_rate)
    return Result(rows, metadata=metadata)
