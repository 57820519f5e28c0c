"""One version of one partition: ids are found by search, and rows are read by their place."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import polars as pl

from sand_dagster.artifacts.history import Version
from sand_dagster.artifacts.links import FEW, PartitionLinks
from sand_dagster.artifacts.schemas import TABLES, Table

if TYPE_CHECKING:
    import pyarrow.parquet as pq


class Node(NamedTuple):
    """A row, or a whole base model. `iteration` is None for a table without partitions.

    `experiment` is empty for the experiment of the question. `version` is empty for the current rows, else
    it is the start of the content hash of an earlier version.
    """

    table: str
    iteration: str | None
    id: str
    experiment: str = ""
    version: str = ""


class Part:
    """A partition's version. `alias` names the column whose values are its nodes, if it is not the key."""

    def __init__(
        self,
        version: Version,
        table: str,
        iteration: str | None,
        experiment: str,
        short: str,
        alias: str | None,
    ) -> None:
        self.table, self.iteration, self.experiment, self.version = table, iteration, experiment, short
        self._version, self._alias = version, alias

    @property
    def schema(self) -> Table:
        return TABLES[self.table]

    @property
    def content_hash(self) -> str:
        return self._version.manifest.content_hash

    @property
    def inputs(self) -> Mapping[str, str]:
        """Content hashes of what it was made from."""
        return self._version.manifest.inputs

    @property
    def source(self) -> Version:
        """The version that it is."""
        return self._version

    @cached_property
    def links(self) -> PartitionLinks:
        """The ids in its rows."""
        return self._version.links()

    @cached_property
    def _file(self) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self._version.data, memory_map=True)

    @cached_property
    def _starts(self) -> list[int]:
        """The place of each row group's first row."""
        about = self._file.metadata
        sizes = (about.row_group(n).num_rows for n in range(about.num_row_groups))
        return list(accumulate(sizes, initial=0))

    def place(self, id: str) -> int | None:
        """The place of the row that the id stands for."""
        if self._alias is not None and (named := self.links.naming(id).get(self._alias)) is not None:
            return int(named[0])
        return self.links.row(id)

    def places(self, ids: Sequence[str]) -> tuple[Sequence[int], Sequence[str]]:
        """The places of the rows that the ids stand for, in the ids' order, and the ids that no row has."""
        if len(ids) > FEW and self._alias is None:
            return self.links.rows(ids)
        found = [(id, self.place(id)) for id in ids]
        return [place for _, place in found if place is not None], [id for id, p in found if p is None]

    def naming(self, ids: Sequence[str], column: str) -> Sequence[int]:
        """The places of the rows that name one of the ids in `column`."""
        if len(ids) == 1:
            rows = self.links.naming(ids[0]).get(column)
            return _places(rows)
        found = [rows for id in ids if (rows := self.links.naming(id).get(column)) is not None]
        return _places(pl.concat(found).unique().sort() if found else None)

    def node(self, row: int) -> Node:
        """The node of the row at a place."""
        if self._alias is not None:
            return self.node_of(str(self.rows([row], [self._alias])[row][self._alias]))
        return self.node_of(self.links.keys[row])

    def node_of(self, id: str) -> Node:
        """The node that an id of this partition stands for."""
        return Node(self.table, self.iteration, id, self.experiment, self.version)

    def ids(self, rows: Sequence[int], columns: Sequence[str]) -> dict[str, list[str]]:
        """The different ids that the columns of the rows hold, in order, without the empty one."""
        frame = self._frame(rows, columns)
        return {name: _flat(frame[name].to_list()) for name in columns}

    def rows(self, rows: Sequence[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
        """The columns' values by the row's place."""
        frame = self._frame(rows, columns)
        return dict(zip(rows, frame.iter_rows(named=True), strict=True))

    def _frame(self, rows: Sequence[int], columns: Sequence[str]) -> pl.DataFrame:
        """The rows at these places, in ascending order; only the row groups that hold them are read."""
        groups = sorted({bisect_right(self._starts, row) - 1 for row in rows})
        if not groups or not columns:
            return pl.DataFrame(schema={name: self.schema.columns[name].dtype for name in columns})
        read = pl.from_arrow(self._file.read_row_groups(groups, columns=list(columns)))
        assert isinstance(read, pl.DataFrame)
        offsets, taken = {}, 0
        for group in groups:
            offsets[group] = taken - self._starts[group]
            taken += self._starts[group + 1] - self._starts[group]
        return read[[row + offsets[bisect_right(self._starts, row) - 1] for row in rows]]


def _places(rows: pl.Series | None) -> Sequence[int]:
    # A series is already a sequence, only its type differs: a million places are not copied.
    return [] if rows is None else cast("Sequence[int]", rows)


def _flat(values: Sequence[str | list[str] | None]) -> list[str]:
    lists = ([value] if isinstance(value, str) else value for value in values if value)
    different = dict.fromkeys(chain.from_iterable(lists))
    different.pop("", None)
    return list(different)
