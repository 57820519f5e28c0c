"""The tables' schemas, made from the rows' definitions: names, types and documentation of the columns."""

from __future__ import annotations

import types
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import polars as pl

from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow
from sand_dagster.rows.evaluation import EpisodeRow, ScoreRow
from sand_dagster.rows.experts import ImportRow
from sand_dagster.rows.explorations import ExplorationRow
from sand_dagster.rows.models import BaseModelRow, CheckpointRow, PolicyRow
from sand_dagster.rows.row import Parent, Row
from sand_dagster.rows.search import SearchEpisodeRow, SearchScoreRow
from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow, ExpertRow
from sand_dagster.rows.tasks import TaskRow

_TYPES: dict[type, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column's type and what it holds. `parents` are the tables that the id in it may come from."""

    dtype: pl.DataType
    description: str
    parents: tuple[Parent, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the meaning and the class of its rows, and its columns; the first is the row's id."""

    name: str
    row: str
    kind: type[Row]
    columns: dict[str, Column]
    partitioned: bool

    @property
    def key(self) -> str:
        """The column that holds the row's own id."""
        return next(iter(self.columns))

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Column names and polars types, in order."""
        return {name: column.dtype for name, column in self.columns.items()}

    @property
    def parents(self) -> dict[str, tuple[Parent, ...]]:
        """Columns that hold parents' ids, and the tables these come from."""
        return {name: column.parents for name, column in self.columns.items() if column.parents}


def table_of(kind: type[Row]) -> Table:
    """The table whose rows `kind` defines."""
    columns = {name: _column(annotated) for name, annotated in _fields(kind).items()}
    assert kind.__doc__ is not None, f"{kind.__name__} does not say what a row is"
    summary = kind.__doc__.partition("\n")[0].removesuffix(".")
    return Table(kind.table, summary[0].lower() + summary[1:], kind, columns, kind.partitioned)


def _fields(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields, in order."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def _column(annotated: Any) -> Column:
    """The column that `Annotated[type, description, parents]` stands for."""
    kind, description, *parents = get_args(annotated)
    return Column(_dtype(kind), description, *parents)


def _dtype(kind: Any) -> pl.DataType:
    """The polars type that holds values of the Python type `kind`; every one of them may be null there."""
    if get_origin(kind) is Annotated:
        return _dtype(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        dtypes = {_dtype(each) for each in get_args(kind) if each is not type(None)}
        assert len(dtypes) == 1, f"the values of {kind} are of several types in a file"
        return dtypes.pop()
    if get_origin(kind) is tuple:
        return pl.List(_dtype(get_args(kind)[0]))
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return pl.Struct({name: _dtype(each) for name, each in _fields(kind).items()})
    return pl.String() if issubclass(kind, Enum) else _TYPES[kind]


TABLES: dict[str, Table] = {
    table.name: table
    for table in map(
        table_of,
        (
            TaskRow,
            ImportRow,
            ExpertRow,
            BaseModelRow,
            DemonstrationRow,
            PolicyRow,
            CandidateRow,
            RolloutRow,
            CritiqueRow,
            DeliberationRow,
            ExplorationRow,
            CheckpointRow,
            EpisodeRow,
            ScoreRow,
            SearchEpisodeRow,
            SearchScoreRow,
        ),
    )
}
"""All tables by name, in the order in which a row's parents come before it."""

SCORES = ("eval_scores", "search_scores")
"""The tables that everything else is made for."""
