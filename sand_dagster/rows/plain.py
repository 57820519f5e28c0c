"""Rows as plain values: to and from a journal's JSON and a table's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sand_dagster.rows.row import Row

R = TypeVar("R", bound=Row)


_adapters: dict[type[Row], TypeAdapter[Any]] = {}


def _adapter(kind: type[R]) -> TypeAdapter[R]:
    """The reader, checker and writer for rows of a `kind`; made for the first row."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def plain(row: Row) -> dict[str, Any]:
    """The columns of `row`, in order, with mappings for its parts; ready for JSON."""
    values: dict[str, Any] = _adapter(type(row)).dump_python(row)
    return values


def typed(kind: type[R], values: Mapping[str, Any]) -> R:
    """The row of a `kind` from `values` of `plain`, or from a file.

    Raises:
        pydantic.ValidationError: a column is missing or unknown, or its value is of another type.
    """
    return _adapter(kind).validate_python(values)


def check(kind: type[R], row: object) -> R:
    """`row`, after a check that every value has exactly the type that `kind` defines.

    Raises:
        pydantic.ValidationError: it is not such a row, or a value is of another type.
    """
    return _adapter(kind).validate_python(row, strict=True)


def problem(error: ValidationError) -> str:
    """Which value of a row is wrong, and how. It starts with `, column` or `:`, to follow the row's place."""
    first = error.errors(include_url=False)[0]
    # After a column's name there may be the branch of a union, which does not help a reader.
    places = [str(part) for part in first["loc"] if not str(part).startswith("str-enum[")]
    where = f", column {'.'.join(places)}" if places else ""
    found = first["input"]
    return f"{where}: {first['msg']}, found {type(found).__name__} {found!r}"
