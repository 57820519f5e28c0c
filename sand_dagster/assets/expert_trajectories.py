"""The expert trajectories."""

from sand_dagster.assets.stage import Result, StageRun, stage
from sand_dagster.sand.trajectories import expert_rows


@stage(after=("tasks",), settings=("environment",), kinds=frozenset({"parquet"}))
def expert_trajectories(run: StageRun) -> Result:
    """The expert's ReAct-style trajectories on the training tasks: D_exp to begin with (Section 4.1)."""
    section = run.experiment.environment
    train = [task for task in run.tasks.values() if task.split == "train"]
    found = list(section.module.experts(section.options, run.store.home, train, run.progress.counted))
    solved = {trajectory.task.id for trajectory in found}
    rows = expert_rows(found)
    counts: dict[str, int | float] = {
        "trajectories": len(found),
        "steps": len(rows),
        "tasks_without_trajectory": sum(task.id not in solved for task in train),
        "average_reward": sum(e.reward for e in found) / len(found) if found else 0.0,
    }
    return Result(rows, counts)
