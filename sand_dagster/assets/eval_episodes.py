"""Evaluation's episodes."""

from sand_dagster.assets.stage import Result, StageRun, stage
from sand_dagster.sand.evaluation import evaluate


@stage(
    after=("checkpoints",),
    reads=("tasks", "expert_trajectories@eto"),
    settings=("evaluation", "generation.turn_tokens", "model.context", "protocol", "environment", "seed"),
    kinds=frozenset({"vllm"}),
    gpu=True,
)
def eval_episodes(run: StageRun) -> Result:
    """The finetuned agent plays every seen and unseen test task once, at temperature 0 (Section 5.1)."""
    tasks = [task for task in run.tasks.values() if task.split in ("seen", "unseen")]
    (checkpoint,) = run.rows("checkpoints")

    async def play() -> Result:
        async with run.agent(checkpoint["checkpoint_id"], checkpoint["folder"]) as agent, run.pool() as pool:
            return Result.of(
                await evaluate(run.stage, tasks, pool, agent, run.experiment.evaluation.temperature)
            )

    return run.wait(play())
