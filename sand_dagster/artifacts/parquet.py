"""A table's rows as a Parquet file, written and counted in blocks, for any number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sand_dagster.artifacts.content import ContentHash, checked_frames
from sand_dagster.artifacts.schemas import Table
from sand_dagster.rows.row import Row

Count = int | float | pl.Expr
"""A number, or an expression over a table's rows that gives one."""

_PLAIN = pl.CompatLevel.oldest()
"""Arrow without polars' string views, because some readers do not support them."""


class Written(NamedTuple):
    """What a file holds: how many rows, and the hash of their content."""

    rows: int
    content_hash: str


def write_parquet(path: Path, table: Table, rows: Iterable[Row]) -> Written:
    """Check `rows` and write them to `path`, one row group at a time.

    Raises:
        ValueError: a row does not fit the schema, or an id is empty or not unique.
    """
    # Imported only when rows are written: most commands only read.
    from pyarrow.parquet import ParquetWriter

    count, hashed = 0, ContentHash(table)
    empty = pl.DataFrame(schema=table.schema).to_arrow(compat_level=_PLAIN)
    with (
        path.open("wb") as file,
        ParquetWriter(file, empty.schema, compression="zstd", compression_level=3) as writer,
    ):
        for frame in checked_frames(table, rows):
            hashed.update(frame)
            writer.write_table(frame.to_arrow(compat_level=_PLAIN))
            count += frame.height
    return Written(count, hashed.hexdigest())


def scan_parquet(path: Path) -> pl.LazyFrame:
    """The rows of `path` in order, not read yet."""
    return pl.scan_parquet(path, hive_partitioning=False, glob=False)


def evaluate_counts(path: Path, counts: Mapping[str, Count]) -> dict[str, int | float]:
    """`counts` with every expression computed over the rows of `path`; a mean over no rows is 0."""
    expressions = {name: each for name, each in counts.items() if isinstance(each, pl.Expr)}
    numbers = {name: each for name, each in counts.items() if not isinstance(each, pl.Expr)}
    if expressions:
        taken = scan_parquet(path).select(**expressions).fill_null(0).collect(engine="streaming")
        numbers |= taken.row(0, named=True)
    return numbers
