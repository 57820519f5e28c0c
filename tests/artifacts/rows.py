"""Rows of every table for tests; what a test does not name is blank."""

from __future__ import annotations

from typing import Any

import polars as pl

from sand_dagster.artifacts.schemas import TABLES


def row(table: str, key: str, **values: Any) -> dict[str, Any]:
    """A row of `table` whose id is `key`."""
    schema = TABLES[table]
    blank = {name: _blank(column.dtype) for name, column in schema.columns.items()}
    unknown = values.keys() - blank.keys()
    assert not unknown, unknown
    return blank | values | {schema.key: key}


def _blank(dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.List):
        return []
    return {pl.String: "", pl.Int64: 0, pl.Float64: 0.0, pl.Boolean: False}[type(dtype)]
