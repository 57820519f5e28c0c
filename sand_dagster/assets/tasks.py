"""The environment's tasks."""

import json

from sand_dagster.assets.stage import Result, StageRun, stage


@stage(settings=("environment",), kinds=frozenset({"parquet"}))
def tasks(run: StageRun) -> Result:
    """The tasks: `train` for the demonstrations, `seen` and `unseen` for evaluation (Table 1)."""
    section = run.experiment.environment
    found = section.module.tasks(section.options, run.store.home, run.progress.counted)
    rows = [
        {
            "task_id": task.id,
            "environment": task.environment,
            "split": task.split,
            "kind": task.kind,
            "step_limit": task.step_limit,
            "spec": json.dumps(dict(task.spec), sort_keys=True),
        }
        for task in found
    ]
    splits = [task.split for task in found]
    return Result(rows, {split: splits.count(split) for split in sorted(set(splits))})
