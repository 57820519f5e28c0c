"""The content of a table, however it is stored: checking rows, and the hash of their content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import polars as pl
from pydantic import ValidationError

from sand_dagster.artifacts.schemas import Table
from sand_dagster.rows.plain import check, plain, problem
from sand_dagster.rows.row import Row

_INCIDENTAL = frozenset({"folder", "source", "seconds", "tokens_per_second"})
"""Columns and fields that depend on the machine: the path and name of a file, how long the work took.
They are stored but not hashed, so that the same work gives the same content hash on every machine.
"""

_FRAME_ROWS = 512


def checked_frames(table: Table, rows: Iterable[Row]) -> Iterator[pl.DataFrame]:
    """`rows` in frames of the table's schema. Every value has its column's type, and every key is unique.

    Rows are read when a frame is needed; of the earlier ones only the keys are remembered. Polars itself
    would turn a value of the wrong type into null, or cut 1.5 to 1.

    Raises:
        ValueError: a row does not belong to the table, a value has the wrong type, or a key is empty or not
            unique; the message names table, row and column.
    """
    checked = _checked(table, rows)
    while some := list(islice(checked, _FRAME_ROWS)):
        yield pl.DataFrame(some, schema=table.schema, orient="row")


def _checked(table: Table, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for number, row in enumerate(rows):
        try:
            check(table.kind, row)
        except ValidationError as error:
            raise ValueError(f"table {table.name}, row {number}{problem(error)}") from error
        values = plain(row)
        key = values[table.key]
        if not key:
            raise ValueError(f"table {table.name}, row {number}: the id in {table.key} is empty")
        if seen.setdefault(key, number) != number:
            raise ValueError(
                f"table {table.name}, rows {seen[key]} and {number} have the same {table.key} {key!r}"
            )
        yield values


class ContentHash:
    """SHA-256 over the rows in their order, as canonical JSON without the incidental columns.

    It does not depend on file format, compression, library version or the size of the frames. It depends on
    the order of the rows, because training reads them in this order.
    """

    def __init__(self, table: Table) -> None:
        self._columns = [name for name in table.columns if name not in _INCIDENTAL]
        self._mixed = [
            place for place, name in enumerate(self._columns) if _has_incidental(table.columns[name].dtype)
        ]
        self._state = hashlib.sha256(json.dumps([table.name, self._columns]).encode())

    def update(self, frame: pl.DataFrame) -> None:
        """Add the next rows."""
        for row in frame.select(self._columns).iter_rows():
            values = list(row)
            for place in self._mixed:
                values[place] = _essential(values[place])
            text = json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            self._state.update(b"\n" + text.encode())

    def hexdigest(self) -> str:
        """Of the rows added so far, in hex."""
        return self._state.hexdigest()


def _has_incidental(dtype: object) -> bool:
    """Whether a column's values have fields that are left out."""
    if isinstance(dtype, pl.List):
        return _has_incidental(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return any(field.name in _INCIDENTAL or _has_incidental(field.dtype) for field in dtype.fields)
    return False


def _essential(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _essential(v) for name, v in value.items() if name not in _INCIDENTAL}
    if isinstance(value, list):
        return [_essential(v) for v in value]
    return value
