"""Action deliberation synthesis."""

import polars as pl

from sand_dagster.assets.deciding import WRITING, base_packages, writing_modules, writing_prompts
from sand_dagster.assets.definition import INITIALISATION, stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.outcomes import ReplyOutcome, StepOutcome
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow
from sand_dagster.sand.deliberation import deliberate
from sand_dagster.sand.evidence import Evidence


@stage(
    reads=("critiques", "candidate_actions", "rollouts", "expert_trajectories", "base_model"),
    settings=lambda experiment: (
        "deliberation.temperature",
        "deliberation.retry_temperature",
        "deliberation.max_new_tokens",
        "deliberation.constrain_to_candidates",
        "deliberation.require_expert_action",
        "deliberation.expert_switch",
        "variant",
        *(("sampling.n",) if experiment.variant == "without_sampling" else ()),
        *WRITING,
        "seed",
    ),
    modules=lambda experiment: ("sand_dagster.sand.deliberation", *writing_modules(experiment)),
    prompts=lambda experiment: (
        "sand_dagster/prompts/deliberation.txt",
        "sand_dagster/prompts/alternatives.txt",
        *writing_prompts(experiment),
    ),
    packages=base_packages,
    kinds=frozenset({"vllm"}),
    gpu=True,
    units=True,
)
def deliberation_trajectories(run: StageRun) -> Result:
    """D_delib: a synthesised deliberation where a step deliberates, elsewhere the step as it was (Eq. 6).

    Every step ends in the expert's action, or in the switched one (Section 4.4). In iteration 00 all steps
    are kept.
    """
    evidence = _evidence(run)

    async def synthesise() -> Result:
        async with run.base() as base:
            finished = await deliberate(
                run.stage, run.demonstrations, evidence, base, run.experiment.deliberation
            )
        parsed = pl.col("outcome") == ReplyOutcome.OK
        return Result.of(
            finished,
            deliberated=parsed.sum(),
            parsed_rate=parsed.filter(pl.col("outcome") != StepOutcome.KEPT).mean(),
            retried=(pl.col("attempts") > 1).sum(),
            switched_trajectories=pl.col("trajectory_id").filter(pl.col("rollout_id") != "").n_unique(),
        )

    return run.wait(synthesise())


def _evidence(run: StageRun) -> Evidence:
    variant = run.experiment.variant
    if run.iteration == INITIALISATION or variant == "more_sft":
        return Evidence({})
    if variant == "without_sampling":
        return Evidence({}, alternatives=run.experiment.sampling.n)
    candidates = run.rows(CandidateRow).grouped("step_id")
    if variant == "without_critique":
        return Evidence(candidates)
    return Evidence(
        candidates,
        run.rows(RolloutRow).by("candidate_id"),
        run.rows(CritiqueRow).by("candidate_id"),
    )
