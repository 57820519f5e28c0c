"""The base of every row: the name of its table, and columns with meaning and parent tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

from pydantic import ConfigDict


class Parent(NamedTuple):
    """A table that an id comes from: of the same iteration, or of the one before."""

    table: str
    previous: bool = False


def of(*tables: str) -> tuple[Parent, ...]:
    """`tables` of the same iteration as parents."""
    return tuple(map(Parent, tables))


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A value with named fields, of which a column holds a list."""

    # For `rows/plain.py`: no unknown field is allowed, and existing values are checked too.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", revalidate_instances="always")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Part):
    """A row of the table `table`, partitioned by iteration or not. The docstring says what a row is.

    A column is `name: Annotated[type, "what it holds", parents]`. `parents`, if there are any, are the
    tables that the id in it may come from. The first column is the row's own id: a hash of what determines
    the row (`ids.py`), so that the same inputs give the same ids on every run.
    """

    table: ClassVar[str]
    partitioned: ClassVar[bool] = True


TaskId = Annotated[str, "the task", of("tasks")]
