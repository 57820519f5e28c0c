"""Execution of the candidates."""

from sand_dagster.assets.stage import Result, StageRun, stage
from sand_dagster.sand.rollouts import roll_out


@stage(
    after=("candidate_actions",),
    reads=("demonstrations", "policy", "tasks"),
    settings=("rollouts", "generation.turn_tokens", "model.context", "protocol", "environment", "seed"),
    kinds=frozenset({"vllm"}),
    gpu=True,
)
def rollouts(run: StageRun) -> Result:
    """Every candidate of a deliberating step, executed and played to the end by π_k (Section 4.3)."""
    candidates = run.rows("candidate_actions")
    if not any(candidate["deliberates"] for candidate in candidates):
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
        result = Result.of(finished)
        counts: dict[str, int | float] = {
            "average_reward": sum(row["reward"] for row in result.rows) / len(result.rows),
            "invalid_actions": sum(row["invalid_actions"] for row in result.rows),
            "unparsed_replies": sum(row["unparsed"] for row in result.rows),
            "completion_tokens": sum(row["completion_tokens"] for row in result.rows),
        }
        result.counts.update(counts)
        return result

    return run.wait(play())
