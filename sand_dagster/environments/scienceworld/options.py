"""The `environment` section of an experiment on ScienceWorld, and the tasks that it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from sand_dagster.environments import UserPath
from sand_dagster.environments.scienceworld.specification import spec_of
from sand_dagster.environments.scienceworld.task_types import PUBLISHED, TASK_TYPES, from_published_name
from sand_dagster.ids import digest
from sand_dagster.types import Task
from sand_dagster.verdicts import Keep

_TEST_VARIATIONS = 10
INDEX_FILES = {"train": "train_indices.json", "seen": "dev_indices.json", "unseen": "test_indices.json"}
_INDEX = TypeAdapter(list[tuple[str, int]])


class Limits(BaseModel):
    """How many tasks of a split are used; all if there is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: int | None = Field(None, ge=0, description="training tasks")
    seen: int | None = Field(None, ge=0, description="test tasks of ETO's dev split")
    unseen: int | None = Field(None, ge=0, description="test tasks of the simulator's test variations")


class Options(BaseModel):
    """The `environment` section of an experiment on ScienceWorld.

    Without `indices`, the training tasks are the simulator's training variations of `task_types`, the
    seen tasks its first ten dev variations of each type, the unseen tasks its first ten test variations of
    each: with the default types these are exactly the published unseen tasks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    indices: UserPath | None = Field(
        None, description="folder of ETO's {train,dev,test}_indices.json, which define the published split"
    )
    task_types: tuple[str, ...] = Field(
        PUBLISHED, min_length=1, description="task types that are used; the default are the published 24"
    )
    limits: Limits = Field(Limits(), description="how many tasks of each split")
    step_limit: Literal["published"] | int = Field(
        "published", description="turns in an episode: a number, or the published number for each task type"
    )
    experts: Literal["gold_paths"] | UserPath = Field(
        "gold_paths",
        description="the simulator's gold paths, or a file of trajectories in ETO's format (JSON), JSON "
        "lines with `messages`, or a folder of Parquet files",
    )
    keep: Keep = Field(
        "winning",
        description="which expert trajectories of the file are accepted after their replay: those that still "
        "win, every action accepted; or all that can be replayed, with the reward that they reach",
    )

    @field_validator("task_types")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in names if name not in TASK_TYPES]:
            raise ValueError(f"there is no task type {', '.join(unknown)}; there are {', '.join(TASK_TYPES)}")
        return names

    def limit_of(self, task_type: str) -> int:
        """Turns in an episode of a task type.

        Raises:
            ValueError: the published table has none for it.
        """
        if self.step_limit != "published":
            return self.step_limit
        published = TASK_TYPES[task_type].step_limit
        if published is None:
            raise ValueError(
                f"{task_type} is not in the published split and has no published step limit: "
                "set `step_limit` to a number"
            )
        return published


def list_tasks(options: Options) -> list[Task]:
    """The tasks of all splits. If a split has a limit, tasks are chosen by the hash of their id.

    54 of the 194 published seen tasks are training tasks, too. Such a task is listed in both splits, as
    published, and in the second its id has the split's name in it.

    Raises:
        ValueError: an index file is missing or malformed or names a task twice, or a task type has no step
            limit.
    """
    splits: dict[str, list[Task]] = {}
    taken: set[str] = set()
    for split in INDEX_FILES:
        splits[split] = list(_split(options, split, taken))
        taken.update(task.id for task in splits[split])
    return [
        task for split, found in splits.items() for task in _limited(found, getattr(options.limits, split))
    ]


def _split(options: Options, split: str, taken: Set[str]) -> Iterator[Task]:
    found = _published(options, split) if options.indices is not None else _built_in(options, split)
    for name, variation in found:
        id = f"scienceworld/{name}/{variation}"
        if id in taken:
            id = f"scienceworld/{split}/{name}/{variation}"
        yield Task(id, "scienceworld", split, name, options.limit_of(name), spec_of(name, variation))


def _built_in(options: Options, split: str) -> Iterator[tuple[str, int]]:
    for name in options.task_types:
        kind = TASK_TYPES[name]
        chosen = {
            "train": kind.train,
            "seen": kind.dev[:_TEST_VARIATIONS],
            "unseen": kind.test[:_TEST_VARIATIONS],
        }[split]
        yield from ((name, variation) for variation in chosen)


def _published(options: Options, split: str) -> Iterator[tuple[str, int]]:
    assert options.indices is not None
    path = options.indices / INDEX_FILES[split]
    try:
        rows: Iterable[tuple[str, int]] = _INDEX.validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ValueError(f"there is no {path}: `indices` has to be a folder of ETO's index files") from error
    except ValidationError as error:
        raise ValueError(f"{path}: expected [[task name, variation], …]: {error}") from error
    row_of: dict[tuple[str, int], int] = {}
    for row, (published, variation) in enumerate(rows):
        name = from_published_name(published)
        if (before := row_of.setdefault((name, variation), row)) != row:
            raise ValueError(
                f"{path}, row {row}: {published}, variation {variation} is in row {before} already. "
                "Remove one of them"
            )
        if name not in TASK_TYPES or variation not in range(TASK_TYPES[name].variations):
            raise ValueError(
                f"{path}, row {row}: ScienceWorld has no task {published!r}, variation {variation}"
            )
        if name in options.task_types:
            yield name, variation


def _limited(tasks: list[Task], limit: int | None) -> list[Task]:
    if limit is None or limit >= len(tasks):
        return tasks
    kept = {task.id for task in sorted(tasks, key=lambda task: digest(task.id))[:limit]}
    return [task for task in tasks if task.id in kept]
