"""Rows as plain values, at the edges: to and from a journal's JSON and a table's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sand_dagster.rows.row import Row

R = TypeVar("R", bound=Row)


_adapters: dict[type[Row], TypeAdapter[Any]] = {}


def _adapter(kind: type[R]) -> TypeAdapter[R]:
    """What reads, checks and writes rows of a `kind`; made when the first one is."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def plain(row: Row) -> dict[str, Any]:
    """The columns of `row`, in order, with mappings for its parts; ready for JSON."""
    values: dict[str, Any] = _adapter(type(row)).dump_python(row)
    return values


def typed(kind: type[R], values: Mapping[str, Any]) -> R:
    """The row of a `kind` that `plain` gave `values` of, or that was read from a file.

    Raises:
        pydantic.ValidationError: a column is missing or unknown, or its value is of another type.
    """
    return _adapter(kind).validate_python(values)


def check(kind: type[R], row: object) -> R:
    """`row`, every value of the type that `kind` says, and no other.

    Raises:
        pydantic.ValidationError: it is no such row, or a value is of another type.
    """
    return _adapter(kind).validate_python(row, strict=True)


def problem(error: ValidationError) -> str:
    """Which value of a row is wrong, and how: begins with `, column` or `:`, to follow the row's place."""
    first = error.errors(include_url=False)[0]
    # What follows a column's name may be the branch of a union, which says nothing to a reader.
    places = [str(part) for part in first["loc"] if not str(part).startswith("str-enum[")]
    where = f", column {'.'.join(places)}" if places else ""
    found = first["input"]
    return f"{where}: {first['msg']}, found {type(found).__name__} {found!r}"
