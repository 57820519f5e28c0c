"""Environments behind one interface: each is a module that offers the names of `EnvironmentKind`.

A package makes its own known by an entry point of the group `sand_dagster.environments`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, Protocol, cast

from pydantic import AfterValidator, BaseModel

from sand_dagster.interfaces import Domain, Environment
from sand_dagster.recordings.recording import Recordings
from sand_dagster.types import Task, Trajectory

_GROUP = "sand_dagster.environments"

UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path that a user wrote: `~` is the home folder."""

Progress = Callable[[int, int], None]
"""Called with (done, total) while long work goes on."""


class EnvironmentKind(Protocol):
    """What an environment's module offers.

    `Options` is the `environment` section of an experiment's YAML, `kind` left out. `home` is `$SAND_HOME`:
    what an environment makes for itself (generated games, compiled games) goes below it.
    """

    __name__: str
    Options: type[BaseModel]
    DOMAIN: Domain
    PACKAGES: tuple[str, ...]
    """Distributions whose versions decide what happens in the environment."""
    PATHS: tuple[str, ...]
    """Options that are paths. What lies there decides, not where: see `files`."""
    PLAYING: tuple[str, ...]
    """Options that decide what happens in a task that is given."""

    @staticmethod
    def files(options: Any, home: Path) -> Mapping[str, str]:
        """Content hashes of the outside data that tasks and experts come from; empty: not there."""
        ...

    @staticmethod
    def make(options: Any, home: Path) -> Environment:
        """An environment for one worker process; nothing is opened before its first `reset`."""
        ...

    @staticmethod
    def tasks(options: Any, home: Path, progress: Progress) -> list[Task]:
        """All tasks, of the splits `train`, `seen` and `unseen`, in a stable order."""
        ...

    @staticmethod
    def experts(options: Any, home: Path, tasks: Sequence[Task], progress: Progress) -> Iterator[Trajectory]:
        """The expert's trajectories e for those of `tasks` that it has any for, played in this environment.

        Those of a file, which were played elsewhere, are not among them: a kind that reads one offers
        `recordings` as well (see `recordings_of`).
        """
        ...


def recordings_of(
    kind: EnvironmentKind, options: Any, home: Path, tasks: Sequence[Task]
) -> Recordings | None:
    """The expert trajectories of a file that `options` name, to be replayed; None where there is no file.

    They are what the kind's function `recordings(options, home, tasks)` gives. A kind that reads no files
    needs none.

    Raises:
        ValueError: nothing in the file can be used.
    """
    read = getattr(kind, "recordings", None)
    return None if read is None else cast("Recordings | None", read(options, home, tasks))


def kinds() -> list[str]:
    """The names of the environments that are installed."""
    return sorted(_registered())


@cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_GROUP)}


def environment_kind(name: str) -> EnvironmentKind:
    """The environment called `name`, or the one in the module of that name: `my_package.my_environment`.

    Raises:
        ValueError: there is none of that name, or it cannot be imported.
    """
    module = _registered()[name].value if name in kinds() else name
    if name not in kinds() and "." not in name:
        raise ValueError(
            f"there is no environment {name!r}; there are {', '.join(kinds())}. Name one of your own by its "
            "module, such as `my_package.my_environment`"
        )
    try:
        return cast(EnvironmentKind, importlib.import_module(module))
    except ImportError as error:
        raise ValueError(
            f"the environment {name!r} is the module {module}, which cannot be imported: {error}"
        ) from error
