"""The environment's tasks."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from sand_dagster.assets.deciding import environment_files, environment_module, environment_packages
from sand_dagster.assets.definition import stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.evaluation import table1
from sand_dagster.evaluation.played_with import played_with
from sand_dagster.rows.tasks import TaskRow


@stage(
    settings=("environment",),
    modules=lambda experiment: (environment_module(experiment),),
    packages=environment_packages,
    files=environment_files,
    kinds=frozenset({"parquet"}),
)
def tasks(run: StageRun) -> Result:
    """The tasks: `train` for the demonstrations, `seen` and `unseen` for evaluation (Table 1)."""
    section = run.experiment.environment
    found = section.module.tasks(section.options, run.store.home, run.progress.counted)
    rows = [
        TaskRow(
            task_id=task.id,
            environment=task.environment,
            split=task.split,
            kind=task.kind,
            step_limit=task.step_limit,
            spec=json.dumps(dict(task.spec), sort_keys=True),
            content=task.content,
        )
        for task in found
    ]
    splits = [task.split for task in found]
    counts = {split: splits.count(split) for split in sorted(set(splits))}
    metadata = {"played_with": said} if (said := played_with(found)) else {}
    return Result(rows, counts, metadata | leaks(rows) | beside_the_papers(section.kind, counts))


def leaks(rows: Sequence[TaskRow]) -> dict[str, Any]:
    """Metadata: how many test tasks are training tasks, too; nothing if none is."""
    trained = {row.spec for row in rows if row.split == "train"}
    both = Counter(row.split for row in rows if row.split != "train" and row.spec in trained)
    said = ", ".join(f"{count} of {split}" for split, count in sorted(both.items()))
    return {"test_tasks_in_training": dg.MetadataValue.text(said)} if said else {}


def beside_the_papers(kind: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """Metadata: the paper's counts for its two environments, and what differs from them (Table 1)."""
    papers = table1.TASKS.get(kind)
    if papers is None:
        return {}
    metadata: dict[str, Any] = {
        f"paper_{split}": dg.MetadataValue.int(count) for split, count in papers.items()
    }
    if said := table1.difference(kind, counts):
        metadata["paper_difference"] = dg.MetadataValue.text(said)
    return metadata
