"""Messages between the pool and its workers: JSON after its length in four bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from sand_dagster.types import Step, Task

LENGTH = struct.Struct(">I")
"""What precedes every message: the number of its bytes."""

Message = dict[str, Any]


def pack(message: Message) -> bytes:
    """The bytes of one message."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


def task_message(task: Task) -> Message:
    """A task as JSON."""
    return {
        "id": task.id,
        "environment": task.environment,
        "split": task.split,
        "kind": task.kind,
        "step_limit": task.step_limit,
        "spec": dict(task.spec),
    }


def read_task(message: Mapping[str, Any]) -> Task:
    """The task that `task_message` wrote."""
    return Task(**message)


def prefix_message(prefix: Sequence[Step]) -> list[list[str]]:
    """A prefix as [action, recorded observation] pairs: a replay needs no thoughts."""
    return [[step.action, step.observation] for step in prefix]
