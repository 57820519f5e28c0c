"""Execution of the candidates."""

import polars as pl

from sand_dagster.assets.deciding import (
    ACTING,
    GENERATING,
    agent_prompts,
    environment_module,
    environment_packages,
    playing_options,
    policy_packages,
    shows_an_example,
)
from sand_dagster.assets.definition import Read, stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.outcomes import Ended
from sand_dagster.rows.candidates import CandidateRow
from sand_dagster.sand.rollouts import roll_out


@stage(
    reads=(
        "candidate_actions",
        "expert_trajectories",
        "policy",
        "tasks",
        Read("expert_data", when=shows_an_example),
    ),
    settings=lambda experiment: ("rollouts", *playing_options(experiment), *ACTING, "seed"),
    modules=lambda experiment: ("sand_dagster.sand.rollouts", environment_module(experiment), *GENERATING),
    prompts=agent_prompts,
    packages=lambda experiment: (*environment_packages(experiment), *policy_packages(experiment)),
    kinds=frozenset({"vllm"}),
    gpu=True,
    units=True,
)
def rollouts(run: StageRun) -> Result:
    """Every candidate of a deliberating step, executed and played to the end by π_k (Section 4.3)."""
    candidates = run.rows(CandidateRow)
    if not any(candidate.deliberates for candidate in candidates):
        return Result([])

    async def play() -> Result:
        async with run.policy() as policy, run.pool() as pool:
            finished = await roll_out(
                run.stage,
                candidates,
                run.demonstrations,
                run.tasks,
                pool,
                policy,
                run.experiment.rollouts,
            )
        return Result.of(
            finished,
            average_reward=pl.col("reward").filter(pl.col("ended") != Ended.REPLAY_MISMATCH).mean(),
            invalid_actions=pl.col("invalid_actions").sum(),
            unparsed_replies=pl.col("unparsed").sum(),
            completion_tokens=pl.col("completion_tokens").sum(),
        )

    return run.wait(play())
