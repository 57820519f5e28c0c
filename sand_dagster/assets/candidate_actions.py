"""Self-consistency action sampling."""

import polars as pl

from sand_dagster.assets.deciding import (
    ACTING,
    GENERATING,
    agent_prompts,
    domain_module,
    policy_packages,
    shows_an_example,
)
from sand_dagster.assets.definition import INITIALISATION, Read, stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.sand.candidates import sample_candidates


@stage(
    reads=(
        "expert_trajectories",
        "policy",
        Read("tasks", when=shows_an_example),
        Read("expert_data", when=shows_an_example),
    ),
    settings=("sampling", "environment.kind", *ACTING, "seed"),
    modules=lambda experiment: ("sand_dagster.sand.candidates", domain_module(experiment), *GENERATING),
    prompts=agent_prompts,
    packages=policy_packages,
    kinds=frozenset({"vllm"}),
    gpu=True,
    units=True,
)
def candidate_actions(run: StageRun) -> Result:
    """N actions sampled from π_k at every step of every demonstration, and where they disagree (Eq. 3, 4).

    A row is a distinct candidate; a step whose candidates differ deliberates. Iteration 00 samples nothing:
    it is behaviour initialisation.
    """
    if run.iteration == INITIALISATION:
        return Result([])

    async def sample() -> Result:
        async with run.policy() as policy:
            finished = await sample_candidates(run.stage, run.demonstrations, policy, run.experiment.sampling)
        # Each step has one candidate of the expert's.
        steps = pl.col("is_expert")
        return Result.of(
            finished,
            deliberation_rate=pl.col("deliberates").filter(steps).mean(),
            unparsed_samples=pl.col("unparsed").filter(steps).sum(),
        )

    return run.wait(sample())
