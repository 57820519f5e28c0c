"""Execution-guided action critique."""

import polars as pl

from sand_dagster.assets.deciding import WRITING, base_packages, writing_modules, writing_prompts
from sand_dagster.assets.definition import stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.outcomes import ReplyOutcome
from sand_dagster.rows.candidates import CandidateRow, RolloutRow
from sand_dagster.sand.critiques import criticise


@stage(
    reads=("rollouts", "candidate_actions", "expert_trajectories", "base_model"),
    settings=("critiques", *WRITING, "seed"),
    modules=lambda experiment: ("sand_dagster.sand.critiques", *writing_modules(experiment)),
    prompts=lambda experiment: ("sand_dagster/prompts/critique.txt", *writing_prompts(experiment)),
    packages=base_packages,
    kinds=frozenset({"vllm"}),
    gpu=True,
    units=True,
)
def critiques(run: StageRun) -> Result:
    """The base model's critique of each candidate, guided by what came of it (Eq. 5, Figure 5)."""
    rollouts = run.rows(RolloutRow).by("candidate_id")
    if not rollouts:
        return Result([])

    async def ask() -> Result:
        async with run.base() as base:
            finished = await criticise(
                run.stage,
                run.rows(CandidateRow),
                rollouts,
                run.demonstrations,
                base,
                run.experiment.critiques,
            )
        return Result.of(
            finished,
            parsed_rate=(pl.col("outcome") == ReplyOutcome.OK).mean(),
            retried=(pl.col("attempts") > 1).sum(),
            shortened=(pl.col("steps_left_out") > 0).sum(),
        )

    return run.wait(ask())
