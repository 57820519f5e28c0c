"""Which experiment has a row."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sand_dagster.artifacts.history import experiments_in
from sand_dagster.artifacts.lineage import Lineage, LineageError
from sand_dagster.artifacts.part import Node


class Found(NamedTuple):
    """A row, the experiment's lineage, and the other experiments that have it too."""

    lineage: Lineage
    node: Node
    also: list[str]


def split_run(name: str) -> tuple[str, str | None]:
    """`EXPERIMENT@RUN` as its two parts; without `@` there is no run."""
    experiment, at, run = name.partition("@")
    return experiment, run if at else None


def locate(
    home: Path, id: str, experiment: str | None, table: str | None = None, iteration: str | None = None
) -> Found:
    """The row whose id is `id` or starts with it, from `experiment` or the first experiment that has it.

    `experiment` may be `EXPERIMENT@RUN`: the tables as that run left them. Current rows come before those of
    earlier versions.

    Raises:
        LineageError: there is none, or several ids start with it.
    """
    if experiment is not None:
        name, run = split_run(experiment)
        lineage = Lineage(home, name, run)
        return Found(lineage, lineage.node(id, table, iteration), [])
    names = experiments_in(home)
    having: list[Found] = []
    for name in names:
        lineage = Lineage(home, name)
        try:
            having.append(Found(lineage, lineage.node(id, table, iteration), []))
        except LineageError as error:
            if "begin with" in str(error):
                raise
    if not having:
        asked = "".join(f" in {what}" for what in (table, iteration and f"iteration {iteration}") if what)
        raise LineageError(
            f"no experiment has a row with the id {id!r}{asked}; looked in: {', '.join(names) or 'none'}"
        )
    first = min(having, key=lambda found: bool(found.node.version))
    also = [found.lineage.experiment for found in having if found is not first]
    return Found(first.lineage, first.node, also)
