"""Rows of every table for tests; columns that a test does not set are blank."""

from __future__ import annotations

from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.rows.plain import typed


def row(table: str, key: str, **values: Any) -> Any:
    """A row of `table` whose id is `key`; parts may be mappings, and outcomes words."""
    schema = TABLES[table]
    hints = get_type_hints(schema.kind)
    blank = {name: _blank(hints[name]) for name in schema.columns}
    return typed(schema.kind, blank | values | {schema.key: key})


def _blank(kind: Any) -> Any:
    """A blank value: no text, 0, no values, or the first of an enum."""
    if get_origin(kind) is tuple:
        return ()
    first = next(iter(get_args(kind)), kind)  # of a union
    return next(iter(first)) if issubclass(first, Enum) else first()
