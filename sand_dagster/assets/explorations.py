"""Exploration of the training tasks."""

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
from sand_dagster.assets.definition import INITIALISATION, Read, stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.sand.explorations import explore


@stage(
    reads=("policy", "tasks", Read("expert_data", when=shows_an_example)),
    settings=lambda experiment: ("explorations", *playing_options(experiment), *ACTING, "seed"),
    modules=lambda experiment: (
        "sand_dagster.sand.explorations",
        environment_module(experiment),
        *GENERATING,
    ),
    prompts=agent_prompts,
    packages=lambda experiment: (*environment_packages(experiment), *policy_packages(experiment)),
    kinds=frozenset({"vllm"}),
    gpu=True,
    units=True,
)
def explorations(run: StageRun) -> Result:
    """π_k plays the training tasks from their start, for RFT and ETO; in iteration 00 nothing is played."""
    if run.iteration == INITIALISATION:
        return Result([])
    tasks = [task for task in run.tasks.values() if task.split == "train"]

    async def play() -> Result:
        async with run.policy() as policy, run.pool() as pool:
            finished = await explore(run.stage, tasks, pool, policy, run.experiment.explorations)
        return Result.of(
            finished,
            average_reward=pl.col("reward").mean(),
            won=(pl.col("reward") >= 1.0).sum(),
            invalid_actions=pl.col("invalid_actions").sum(),
            unparsed_replies=pl.col("unparsed").sum(),
            completion_tokens=pl.col("completion_tokens").sum(),
        )

    return run.wait(play())
