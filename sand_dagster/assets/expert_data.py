"""The expert trajectories that are taken."""

from sand_dagster.assets.definition import stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.recordings.importing import kept_trajectories
from sand_dagster.rows.experts import ImportRow
from sand_dagster.sand.trajectories import expert_rows


@stage(
    reads=("expert_import", "tasks"),
    modules=("sand_dagster.recordings.importing", "sand_dagster.sand.trajectories"),
    kinds=frozenset({"parquet"}),
)
def expert_data(run: StageRun) -> Result:
    """The expert's ReAct-style trajectories on the training tasks: D_exp to begin with (Section 4.1)."""
    train = [task for task in run.tasks.values() if task.split == "train"]
    found = list(kept_trajectories(run.rows(ImportRow), run.tasks))
    solved = {trajectory.task.id for trajectory in found}
    rows = expert_rows(found)
    counts: dict[str, int | float] = {
        "trajectories": len(found),
        "steps": len(rows),
        "tasks_without_trajectory": sum(task.id not in solved for task in train),
        "average_reward": sum(e.reward for e in found) / len(found) if found else 0.0,
    }
    return Result(rows, counts)
