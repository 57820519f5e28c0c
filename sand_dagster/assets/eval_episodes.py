"""Evaluation's episodes."""

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
from sand_dagster.sand.evaluation import evaluate


@stage(
    reads=("checkpoints", "tasks", Read("expert_data", when=shows_an_example)),
    settings=lambda experiment: ("evaluation", *playing_options(experiment), *ACTING, "seed"),
    modules=lambda experiment: ("sand_dagster.sand.evaluation", environment_module(experiment), *GENERATING),
    prompts=agent_prompts,
    packages=lambda experiment: (*environment_packages(experiment), *policy_packages(experiment)),
    kinds=frozenset({"vllm"}),
    gpu=True,
    units=True,
)
def eval_episodes(run: StageRun) -> Result:
    """The finetuned agent plays every seen and unseen test task once, at temperature 0 (Section 5.1)."""
    tasks = [task for task in run.tasks.values() if task.split in ("seen", "unseen")]
    (checkpoint,) = run.rows("checkpoints")

    async def play() -> Result:
        folder = run.checkpoint_folder(checkpoint)
        async with run.agent(checkpoint["checkpoint_id"], folder) as agent, run.pool() as pool:
            return Result.of(
                await evaluate(run.stage, tasks, pool, agent, run.experiment.evaluation.temperature)
            )

    return run.wait(play())
