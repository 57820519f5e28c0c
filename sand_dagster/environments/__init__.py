"""Environments behind one interface: each is a module that offers the names of `EnvironmentKind`.

A package registers its own by an entry point of the group `sand_dagster.environments`.
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
"""Called with (done, total) during long work."""


class EnvironmentKind(Protocol):
    """What an environment's module offers.

    `Options` is the `environment` section of an experiment's YAML, without `kind`. `home` is `$SAND_HOME`:
    files that an environment makes for itself (generated games, compiled games) go below it.
    """

    __name__: str
    Options: type[BaseModel]
    DOMAIN: Domain
    PACKAGES: tuple[str, ...]
    """Distributions whose versions decide what happens in the environment."""
    PATHS: tuple[str, ...]
    """Options that are paths. The content of the files counts, not their place: see `files`."""
    PLAYING: tuple[str, ...]
    """Options that decide what happens inside a given task."""

    @staticmethod
    def files(options: Any, home: Path) -> Mapping[str, str]:
        """Content hashes of the outside files that tasks and experts are read from, if there are any."""
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
        """The expert's trajectories e for those of `tasks` that have one, played in this environment.

        Trajectories from a file, which were played elsewhere, are not among them: a kind that reads a file
        also offers `recordings` (see `recordings_of`).
        """
        ...


def recordings_of(
    kind: EnvironmentKind, options: Any, home: Path, tasks: Sequence[Task]
) -> Recordings | None:
    """The expert trajectories of a file that `options` name, to be replayed; None if there is no file.

    The kind's function `recordings(options, home, tasks)` returns them. A kind that reads no files does not
    need it.

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


def environment_kind(name: object) -> EnvironmentKind:
    """The environment with the name `name`, or the one in the module `name`: `my_package.my_environment`.

    Raises:
        ValueError: there is none of that name, or it cannot be imported.
    """
    known = _registered()
    if not isinstance(name, str) or (name not in known and (name.startswith(".") or "." not in name)):
        raise ValueError(
            f"there is no environment {name!r}; there are {', '.join(kinds())}. For one of your own, give "
            "its module, such as `my_package.my_environment`"
        )
    module = known[name].value if name in known else name
    try:
        return cast(EnvironmentKind, importlib.import_module(module))
    except ImportError as error:
        raise ValueError(
            f"the environment {name!r} is the module {module}, which cannot be imported: {error}"
        ) from error
