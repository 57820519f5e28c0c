"""The row of `tasks`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sand_dagster.rows.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow(Row):
    """A task of the environment."""

    table: ClassVar = "tasks"
    partitioned: ClassVar = False

    task_id: Annotated[str, "id of the task, readable"]
    environment: Annotated[str, "the environment that it belongs to"]
    split: Annotated[str, "train, seen or unseen"]
    kind: Annotated[str, "the task's type"]
    step_limit: Annotated[int, "turns that the agent has"]
    spec: Annotated[str, "JSON: what the environment needs to open it"]
    content: Annotated[str, "hash of the file that opens it; empty if there is none"]
