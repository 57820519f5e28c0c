"""A partition's rows as typed values, read in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

import polars as pl
from pydantic import ValidationError

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.errors import ArtifactError
from sand_dagster.rows.plain import problem, typed
from sand_dagster.rows.row import Row

R = TypeVar("R", bound=Row)
P = TypeVar("P")
T = TypeVar("T")

_BLOCK_ROWS = 512
_BLOCKS = 8


class StoredRows(Sequence[R]):
    """The rows of a scanned partition, in order; a few blocks of them are in memory at once.

    Made for reading in order, or nearly in order: any other look-up reads a block.

    Raises:
        ArtifactError: the row's `kind` does not know a value, for example an outcome of another version.
    """

    def __init__(self, kind: type[R], rows: pl.LazyFrame) -> None:
        self._kind, self._rows = kind, rows
        self._length: int = rows.select(pl.len()).collect().item()
        self._block = lru_cache(_BLOCKS)(self._read)

    def _read(self, number: int) -> pl.DataFrame:
        return self._rows.slice(number * _BLOCK_ROWS, _BLOCK_ROWS).collect()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> list[R]: ...

    def __getitem__(self, index: int | slice) -> R | list[R]:
        places = range(self._length)[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        block, within = divmod(places, _BLOCK_ROWS)
        return self._typed(places, self._block(block).row(within, named=True))

    def __iter__(self) -> Iterator[R]:
        for start in range(0, self._length, _BLOCK_ROWS):
            block = self._block(start // _BLOCK_ROWS)
            for place, values in enumerate(block.iter_rows(named=True), start):
                yield self._typed(place, values)

    def _typed(self, place: int, values: Mapping[str, Any]) -> R:
        try:
            return typed(self._kind, values)
        except ValidationError as error:
            raise ArtifactError(
                f"table {self._kind.table}, row {place}{problem(error)}. Another version of the project "
                "wrote it. Materialise it again"
            ) from error

    def by(self, column: str) -> Mapping[str, R]:
        """The rows by their value in `column`, which is unique."""
        places = {value: place for place, value in enumerate(self._column(column))}
        return _LookUp(places, self.__getitem__)

    def grouped(self, column: str) -> Mapping[str, Sequence[R]]:
        """The rows that share a value in `column`, in order, by that value."""
        places: dict[str, list[int]] = {}
        for place, value in enumerate(self._column(column)):
            places.setdefault(value, []).append(place)
        return _LookUp(places, lambda group: [self[place] for place in group])

    def _column(self, column: str) -> pl.Series:
        return self._rows.select(column).collect()[column]


class _LookUp(Mapping[str, T], Generic[P, T]):
    """Values that are read from their places when they are needed."""

    def __init__(self, places: Mapping[str, P], read: Callable[[P], T]) -> None:
        self._places, self._read = places, read

    def __getitem__(self, key: str) -> T:
        return self._read(self._places[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def rows_of(store: ArtifactStore, kind: type[R], iteration: str | None) -> StoredRows[R]:
    """The rows of a `kind`: those of `iteration`, if their table has iterations.

    Raises:
        MissingArtifact: the partition is not complete.
        TornArtifact: its file is gone, or is not the one that its manifest was written for.
    """
    return StoredRows(kind, store.scan(kind.table, iteration if kind.partitioned else None))
