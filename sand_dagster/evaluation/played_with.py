"""What tasks are played with besides their names: ScienceWorld's simplifications, and its version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sand_dagster.artifacts.recorded import stored_tasks
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.types import Task


def played_with(tasks: Iterable[Task]) -> str:
    """The simplifications that the tasks' specs name, and of how many tasks; empty if none names any."""
    counted = Counter(
        f"{task.environment} {task.spec['version']}: "
        + ", ".join(str(task.spec["simplifications"]).split(","))
        for task in tasks
        if {"simplifications", "version"} <= task.spec.keys()
    )
    return "; ".join(f"{names} ({count} tasks)" for names, count in counted.most_common())


def stored_played_with(store: ArtifactStore) -> str:
    """The same of the tasks of an experiment; empty if there are none yet."""
    return played_with(stored_tasks(store).values()) if store.manifest("tasks", None) else ""
