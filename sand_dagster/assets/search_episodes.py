"""Test-time search's episodes."""

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
from sand_dagster.sand.search import search


@stage(
    reads=("checkpoints", "tasks", Read("expert_data", when=shows_an_example)),
    settings=lambda experiment: ("search", *playing_options(experiment), *ACTING, "seed"),
    modules=lambda experiment: ("sand_dagster.sand.search", environment_module(experiment), *GENERATING),
    prompts=agent_prompts,
    packages=lambda experiment: (*environment_packages(experiment), *policy_packages(experiment)),
    kinds=frozenset({"vllm"}),
    gpu=True,
    units=True,
)
def search_episodes(run: StageRun) -> Result:
    """The finetuned agent plays every test task by the modes of test-time search (Section 6.5, Appendix B).

    Oracle best-of-N plays N episodes; voting takes N samples at every step.
    """
    tasks = [task for task in run.tasks.values() if task.split in ("seen", "unseen")]
    settings = run.experiment.search
    assert settings is not None, "an experiment without a section `search` has no such stage"

    async def play() -> Result:
        async with run.finetuned() as agent, run.pool() as pool:
            return Result.of(await search(run.stage, tasks, pool, agent, settings))

    return run.wait(play())
