"""The expert trajectories of ETO's files that belong to ALFWorld's games."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from sand_dagster.environments.alfworld.environment import as_published
from sand_dagster.environments.records import Record, RecordError, read_records, trajectory
from sand_dagster.sand.types import Task, Trajectory

_GAME = re.compile(r"(?:^|/)json_2\.1\.1/(?P<game>.+)$")


def read_experts(
    path: Path, tasks: Sequence[Task], reword: Callable[[Task, str], str]
) -> Iterator[Trajectory]:
    """The trajectories of `path` whose game is among `tasks`, in the file's order.

    `reword` puts an observation into the words that the task's environment uses (the published data has the
    older grammar). All published trajectories win, so their reward is 1.

    Raises:
        RecordError: the file is not a JSON list, or a row is malformed or names no game; names the row.
    """
    by_game = {_game_folder(str(task.spec["game"])): task for task in tasks}
    for index, record in enumerate(read_records(path)):
        if not record.game:
            raise RecordError(
                f"{path}, row {index}: it has no `game_file`. Expert trajectories for ALFWorld name the game "
                "that they were played in; a file without games is ScienceWorld's"
            )
        task = by_game.get(_game_folder(record.game))
        if task is not None:
            yield trajectory(_reworded(record, task, reword), task)


def _game_folder(game: str) -> str:
    """`train/<task>/<trial>` of a game's path, whatever stands before `json_2.1.1/` and after the trial."""
    found = _GAME.search(game)
    parts = PurePosixPath(found["game"] if found else game).parts
    return "/".join(parts[:-1] if parts and parts[-1].endswith(".tw-pddl") else parts)


def _reworded(record: Record, task: Task, reword: Callable[[Task, str], str]) -> Record:
    def heard(text: str) -> str:
        return reword(task, as_published(text))

    steps = tuple(replace(step, observation=heard(step.observation)) for step in record.steps)
    return replace(record, instruction=heard(record.instruction), steps=steps)
