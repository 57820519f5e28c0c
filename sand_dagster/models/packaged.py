"""Models that come with a Python package and so need no model hub.

A package registers its model by an entry point of the group `sand_dagster.models`: the name for `model.base`
in an experiment, and a module that offers the names of `PackagedModel`.
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
        """The model as a Hugging Face folder; another format is converted now, below `home`.

        Raises:
            ModelUnavailable: it cannot be made.
        """
        ...

    @staticmethod
    def present(home: Path) -> Path | None:
        """The folder if it is there already."""
        ...


def packaged_model(name: str) -> PackagedModel | None:
    """The packaged model `name`, if there is one."""
    return cast(PackagedModel, _registered()[name].load()) if name in _registered() else None


@cache
def _registered() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=_GROUP)}
