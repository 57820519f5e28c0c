"""Trajectories as rows of a file that `recordings.eto` and other projects read.

A row has the turns as a chat, and beside them the instruction, thoughts, actions and observations on their
own. So reading it back gives exactly what was written, also where a thought looks like an action line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from sand_dagster.files import write_whole
from sand_dagster.interfaces import Domain
from sand_dagster.prompts.turns import conversation
from sand_dagster.types import Step, Trajectory

Turns = Literal["conversations", "messages"]
"""What the list of turns is called: as in ETO's files, or as TRL and others expect it."""

StepValues = dict[str, Any]


def step_values(step: Step) -> StepValues:
    """A step's texts by name."""
    return {"thought": step.thought, "action": step.action, "observation": step.observation}


def record_row(
    domain: Domain,
    trajectory: Trajectory,
    turns: Turns,
    *,
    record_id: str = "",
    steps: Sequence[StepValues] = (),
) -> dict[str, Any]:
    """A trajectory as a row. The prompt of Figure 7 or 8 and the task's text are one turn, as the agent sees
    them; the chat ends with the agent's last turn.

    Args:
        domain: of the trajectory's environment.
        trajectory: what is written.
        turns: the name of the list of turns.
        record_id: the row's `id`; default: the task's id.
        steps: the steps' texts and further values; default: the texts alone.
    """
    task = trajectory.task
    return {
        "id": record_id or task.id,
        "game_file": str(task.spec.get("game", "")),
        "task_id": task.id,
        "trajectory_id": trajectory.id,
        "reward": trajectory.reward,
        turns: conversation(domain, trajectory.instruction, trajectory.steps)[:-1],
        "instruction": trajectory.instruction,
        "steps": list(steps or map(step_values, trajectory.steps)),
    }


def write_json(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write `rows` as a JSON list, ETO's format, completely or not at all.

    Raises:
        DiskFull: there was no space; `path` is as it was.
    """
    write_whole(path, lambda temporary: _write_pieces(temporary, _json(rows)))


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write `rows` as JSON lines, completely or not at all.

    Raises:
        DiskFull: there was no space; `path` is as it was.
    """
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_whole(path, lambda temporary: _write_pieces(temporary, lines))


def write_records(path: Path, domain: Domain, trajectories: Iterable[Trajectory]) -> None:
    """Write trajectories in ETO's format, which `read_records` and ETO's own training script read.

    Raises:
        DiskFull: there was no space; `path` is as it was.
    """
    write_json(path, (record_row(domain, each, "conversations") for each in trajectories))


def _json(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    between = "[\n"
    for row in rows:
        yield between + json.dumps(row, indent=1, ensure_ascii=False)
        between = ",\n"
    yield "\n]\n" if between == ",\n" else "[]\n"


def _write_pieces(path: Path, pieces: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for piece in pieces:
            file.write(piece)
