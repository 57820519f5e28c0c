"""The ids in a partition, sorted: which row has an id, and which rows name it.

Two Arrow files are beside a partition's rows. They are written at commit, and mapped into memory for reading.
A look-up is a binary search, for any number of rows. If a file is missing (an older home) or is not as its
manifest recorded it, the rows themselves are used.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import polars as pl

from sand_dagster.artifacts.parquet import scan_parquet
from sand_dagster.artifacts.schemas import Table
from sand_dagster.files import write_whole
from sand_dagster.fingerprints import remembered_digest, written_digest

if TYPE_CHECKING:
    import pyarrow as pa

KEYS, LINKS = "keys.arrow", "links.arrow"
"""Every row's own id, with their order; every other id in the rows, sorted."""

_GROUPING = ("trajectory_id", "model_id")
"""Columns that hold no parent's id, but can be searched too."""

_COLUMNS = b"columns"
FEW = 64
"""Up to this many ids are searched one by one."""

_PLACE = "place of the row"  # no table has such a column


def id_columns(table: Table) -> list[str]:
    """The columns of `table` that hold ids other than the row's own."""
    return [name for name in table.columns if name in table.parents or name in _GROUPING]


def write_links(folder: Path, table: Table, data: Path) -> dict[str, str]:
    """Write the ids of the rows in `data` to `folder`; returns the SHA-256 of each file by its name.

    Raises:
        DiskFull: there was no space.
    """
    import pyarrow as pa

    written = {}
    for name, batch in zip((KEYS, LINKS), _batches(table, data), strict=True):
        schema = batch.schema.with_metadata({_COLUMNS: json.dumps(id_columns(table)).encode()})

        def write(path: Path, batch: pa.RecordBatch = batch, schema: pa.Schema = schema) -> None:
            with pa.ipc.new_file(str(path), schema) as writer:
                writer.write_batch(batch.cast(schema))

        write_whole(folder / name, write)
        written[name] = written_digest(folder / name)
    return written


class IdsOf(Sequence[str]):
    """A column of ids, read from the mapped file one at a time; in another `order`, if one is given."""

    def __init__(self, column: pa.Array, order: pa.Array | None = None) -> None:
        self._column, self._order = column, order

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = index if self._order is None else self._order[index].as_py()
        value: str = self._column[place].as_py()
        return value


class PartitionLinks:
    """The ids of one partition's rows.

    `files` has the files with the sorted ids, each with its recorded SHA-256. If one is not as recorded, the
    ids are taken from the rows in `data`. Nothing is read before it is needed, and a file that has not
    changed since it was written is not hashed.
    """

    def __init__(self, table: Table, data: Path, files: Mapping[str, tuple[Path, str]]) -> None:
        self._table, self._data, self._files = table, data, files

    @cached_property
    def _opened(self) -> tuple[pa.RecordBatch, pa.RecordBatch, list[str]]:
        keys, links = (self._mapped(name) for name in (KEYS, LINKS))
        if keys is None or links is None:
            return *_batches(self._table, self._data), id_columns(self._table)
        return keys, links, json.loads(links.schema.metadata[_COLUMNS])

    def _mapped(self, name: str) -> pa.RecordBatch | None:
        """The content of a file; None: it is not as recorded, and must not be read. Arrow trusts what it
        maps: a flipped bit can end the process."""
        import pyarrow as pa

        if name not in self._files:
            return None
        path, sha256 = self._files[name]
        try:
            if remembered_digest(path) != sha256:
                return None
        except OSError:
            return None
        return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)

    @cached_property
    def keys(self) -> IdsOf:
        """The rows' own ids, in the rows' order."""
        return IdsOf(self._opened[0].column("key"))

    @cached_property
    def _sorted_keys(self) -> IdsOf:
        return IdsOf(self._opened[0].column("key"), self._opened[0].column("order"))

    @cached_property
    def _ids(self) -> IdsOf:
        return IdsOf(self._opened[1].column("id"))

    @cached_property
    def columns(self) -> list[str]:
        """The columns that hold other rows' ids."""
        return self._opened[2]

    def row(self, key: str) -> int | None:
        """The place of the row whose own id is `key`."""
        place = bisect_left(self._sorted_keys, key)
        if place == len(self._sorted_keys) or self._sorted_keys[place] != key:
            return None
        row: int = self._opened[0].column("order")[place].as_py()
        return row

    def rows(self, keys: Sequence[str]) -> tuple[Sequence[int], list[str]]:
        """The places of the rows whose own ids are `keys`, in their order, and the keys that no row has: by a
        pass over all ids, which is quicker than many searches."""
        own = self._opened[0].column("key")
        first = self.row(keys[0])
        # The steps of a training are usually a whole table, in its order.
        if first is not None and pl.Series(own.slice(first, len(keys))).equals(pl.Series(keys)):
            return range(first, first + len(keys)), []
        asked = pl.DataFrame({"key": list(keys)}, schema={"key": pl.String})
        known = pl.DataFrame({"key": pl.Series(own)}).with_row_index("row")
        found = asked.join(known, on="key", how="left", maintain_order="left")
        missing = found.filter(pl.col("row").is_null())["key"].to_list()
        return found["row"].drop_nulls().to_list(), missing

    def naming(self, id: str) -> dict[str, pl.Series]:
        """The rows that name `id`, in order, grouped by the column."""
        first, end = bisect_left(self._ids, id), bisect_right(self._ids, id)
        if first == end:
            return {}
        found = pl.from_arrow(self._opened[1].slice(first, end - first).select(["column", "row"]))
        assert isinstance(found, pl.DataFrame)
        return {
            self.columns[code]: rows["row"]
            for (code,), rows in found.partition_by("column", as_dict=True, include_key=False).items()
        }

    def beginning(self, prefix: str, limit: int) -> Iterator[str]:
        """At most `limit` different ids that begin with `prefix`, own and named ones."""
        for ids in (self._sorted_keys, self._ids):
            place, given = bisect_left(ids, prefix), 0
            while place < len(ids) and given < limit and (id := ids[place]).startswith(prefix):
                yield id
                given += 1
                place = bisect_right(ids, id, place)


def _batches(table: Table, data: Path) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The content of the two files, made from the rows in `data`."""
    rows = scan_parquet(data)
    there = set(rows.collect_schema())
    key = rows.select(key=pl.col(table.key)).collect()
    keys = key.with_columns(order=pl.col("key").arg_sort().cast(pl.UInt32))
    numbered = rows.with_row_index(_PLACE)
    parts = [pl.DataFrame(schema={"id": pl.String, "column": pl.UInt8, "row": pl.UInt32})]
    for code, name in enumerate(id_columns(table)):
        if name not in there:
            continue
        named = numbered.select(
            id=pl.col(name), column=pl.lit(code, pl.UInt8), row=pl.col(_PLACE).cast(pl.UInt32)
        )
        if isinstance(table.columns[name].dtype, pl.List):
            named = named.explode("id")
        parts.append(named.filter(pl.col("id") != "").collect())
    links = pl.concat(parts).sort("id", "column", "row")
    return _batch(keys), _batch(links)


def _batch(frame: pl.DataFrame) -> pa.RecordBatch:
    import pyarrow as pa

    table = frame.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    batches = table.to_batches()
    empty: dict[str, Any] = {name: [] for name in table.schema.names}
    return batches[0] if batches else pa.RecordBatch.from_pydict(empty, schema=table.schema)
