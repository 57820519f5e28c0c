"""Models that come with a Python package and so need no model hub.

A package makes its own known by an entry point of the group `sand_dagster.models`: the name that
`model.base` has in an experiment, and a module that offers the names of `PackagedModel`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, cast

_GROUP = "sand_dagster.models"


class PackagedModel(Protocol):
    """What a packaged model's module offers. `home` is `$SAND_HOME`."""

    @staticmethod
    def folder(home: Path) -> Path:
        """The model as a Hugging Face folder; made now, below `home`, if the package holds another format.

        Raises:
            ModelUnavailable: it cannot be made.
        """
        ...

    @staticmethod
    def present(home: Path) -> Path | None:
        """The folder if it is there already."""
        ...


def packaged_model(name: str) -> PackagedModel | None:
    """The model that a package calls `name`, if one does."""
    return cast(PackagedModel, _registered()[name].load()) if name in _registered() else None


@cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_GROUP)}
