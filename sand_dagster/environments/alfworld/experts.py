"""The expert trajectories of ETO's files that belong to ALFWorld's games."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from alfworld_compiled.games import GameError
from sand_dagster.environments.alfworld.domain import AlfworldDomain
from sand_dagster.environments.alfworld.environment import as_published
from sand_dagster.recordings.eto import Malformed, Record, RecordError, read_records, recording
from sand_dagster.recordings.recording import Recording
from sand_dagster.types import Task
from sand_dagster.verdicts import Verdict

_GAME = re.compile(r"(?:^|/)json_2\.1\.1/(?P<game>.+)$")
_NO_GAME = (
    "no `game_file`. Expert trajectories for ALFWorld name the game that they were played in; a file without "
    "games is ScienceWorld's"
)


def read_recordings(
    path: Path, tasks: Sequence[Task], reword: Callable[[Task, str], str]
) -> Iterator[Recording]:
    """The rows of `path`, in the file's order, each with the one of `tasks` that has its game.

    `reword` changes an observation to the words of the task's environment (the published data has the older
    grammar).

    Raises:
        RecordError: nothing in the file can be read, or none of its rows names a game.
    """
    by_game = {_game_folder(str(task.spec["game"])): task for task in tasks}
    for record in _records(path):
        yield _recording(record, by_game, reword)


def named_in(path: Path, games: Sequence[str]) -> list[str]:
    """Those of `games` for which the file of expert trajectories `path` has a row.

    Raises:
        RecordError: nothing in the file can be read, or none of its rows names a game.
    """
    named = {_game_folder(record.game) for record in _records(path) if isinstance(record, Record)}
    return [game for game in games if _game_folder(game) in named]


def _records(path: Path) -> list[Record | Malformed]:
    records = read_records(path, AlfworldDomain.opening)
    if not any(isinstance(record, Record) and record.game for record in records):
        raise RecordError(f"{path}: its rows have {_NO_GAME}")
    return records


def _recording(
    record: Record | Malformed, by_game: dict[str, Task], reword: Callable[[Task, str], str]
) -> Recording:
    if isinstance(record, Malformed):
        return Recording(record.row, verdict=Verdict.MALFORMED, problem=record.problem)
    if not record.game:
        return Recording(record.row, record.id, None, record.reward, Verdict.MALFORMED, f"it has {_NO_GAME}")
    task = by_game.get(_game_folder(record.game))
    if task is None:
        problem = f"its game {record.game} is none of the {len(by_game)} games asked for"
        return Recording(record.row, record.id, None, record.reward, Verdict.UNKNOWN_TASK, problem)
    try:
        return recording(_reworded(record, task, reword), task)
    except GameError as error:
        return Recording(
            record.row, record.id, None, record.reward, Verdict.ENVIRONMENT_ERROR, f"GameError: {error}"
        )


def _game_folder(game: str) -> str:
    """`train/<task>/<trial>` of a game's path, without the part before `json_2.1.1/` and after the trial."""
    found = _GAME.search(game)
    parts = PurePosixPath(found["game"] if found else game).parts
    return "/".join(parts[:-1] if parts and parts[-1].endswith(".tw-pddl") else parts)


def _reworded(record: Record, task: Task, reword: Callable[[Task, str], str]) -> Record:
    def heard(text: str) -> str:
        return reword(task, as_published(text))

    steps = tuple(replace(step, observation=heard(step.observation)) for step in record.steps)
    return replace(record, instruction=heard(record.instruction), steps=steps)
