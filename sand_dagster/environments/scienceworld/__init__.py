"""ScienceWorld: elementary science in text (Wang et al. 2022), on the package's own simulator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sand_dagster.environments import Progress
from sand_dagster.environments.scienceworld.domain import ScienceWorldDomain
from sand_dagster.environments.scienceworld.environment import ScienceWorldEnvironment
from sand_dagster.environments.scienceworld.gold_paths import gold_trajectories
from sand_dagster.environments.scienceworld.options import INDEX_FILES, Limits, Options, list_tasks
from sand_dagster.environments.scienceworld.specification import require_compared
from sand_dagster.environments.scienceworld.task_types import from_eto_id
from sand_dagster.fingerprints import content_digest
from sand_dagster.recordings.contents import content_of
from sand_dagster.recordings.eto import Malformed, Record, RecordError, read_records, recording
from sand_dagster.recordings.recording import Recording, Recordings
from sand_dagster.types import Task, Trajectory
from sand_dagster.verdicts import Verdict

__all__ = [
    "DOMAIN",
    "PACKAGES",
    "PATHS",
    "PLAYING",
    "Limits",
    "Options",
    "experts",
    "files",
    "make",
    "recordings",
    "tasks",
]

DOMAIN = ScienceWorldDomain()
PACKAGES = ("scienceworld",)
PATHS = ("indices", "experts")
PLAYING: tuple[str, ...] = ()


def make(options: Options, home: Path) -> ScienceWorldEnvironment:
    """An environment for one worker process; its JVM starts with the first `reset`.

    Raises:
        ValueError: the installed version of the simulator was not compared.
    """
    require_compared()
    return ScienceWorldEnvironment()


def tasks(options: Options, home: Path, progress: Progress) -> list[Task]:
    """The tasks of all splits.

    Raises:
        ValueError: an index file is missing or malformed, a task type has no step limit, or the installed
            version of the simulator was not compared.
    """
    require_compared()
    found = list_tasks(options)
    progress(len(found), len(found))
    return found


def files(options: Options, home: Path) -> Mapping[str, str]:
    """Content hashes of the index files and of the file of expert trajectories."""
    found: dict[str, str] = {}
    if options.indices is not None:
        present = [path for name in INDEX_FILES.values() if (path := options.indices / name).is_file()]
        found["indices"] = content_digest(options.indices, present) if present else ""
    if options.experts != "gold_paths":
        found["experts"] = content_of(options.experts)
    return found


def experts(options: Options, home: Path, tasks: Sequence[Task], progress: Progress) -> Iterator[Trajectory]:
    """The gold paths of `tasks`; none if the experts are those of a file, which are `recordings`."""
    if options.experts == "gold_paths":
        yield from gold_trajectories(tasks, progress)


def recordings(options: Options, home: Path, tasks: Sequence[Task]) -> Recordings | None:
    """The rows of the file `options.experts`; None with gold paths.

    A record belongs to the task that its `task_id` names, or in an ETO file its id (`20_31`: task number and
    variation).

    Raises:
        RecordError: nothing in the file can be read, or none of its rows names a task.
    """
    if options.experts == "gold_paths":
        return None
    records = read_records(options.experts, DOMAIN.opening)
    by_id = {task.id: task for task in tasks}
    if not any(
        isinstance(record, Record) and (record.task_id in by_id or from_eto_id(record.id))
        for record in records
    ):
        raise RecordError(
            f"{options.experts}: no row's `id` names a task, as `20_31` does (task number and variation); "
            "a file whose rows have a `game_file` belongs to ALFWorld"
        )
    by_name = {(str(task.spec["task"]), int(task.spec["variation"])): task for task in tasks}
    rows = [_recording(record, by_id, by_name) for record in records]
    return Recordings(str(options.experts), rows, options.keep)


def _recording(
    record: Record | Malformed, by_id: Mapping[str, Task], by_name: Mapping[tuple[str, int], Task]
) -> Recording:
    if isinstance(record, Malformed):
        return Recording(record.row, verdict=Verdict.MALFORMED, problem=record.problem)
    if record.task_id in by_id:
        return recording(record, by_id[record.task_id])
    named = from_eto_id(record.id)
    task = by_name.get(named) if named else None
    if task is None:
        what = f"{named[0]} {named[1]}" if named else "no task of ScienceWorld"
        problem = f"its id names {what}, which is none of the {len(by_name)} tasks asked for"
        return Recording(record.row, record.id, None, record.reward, Verdict.UNKNOWN_TASK, problem)
    return recording(record, task)
