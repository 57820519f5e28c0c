"""A partition's rows as Python values, read some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

import polars as pl

Row = dict[str, Any]
P = TypeVar("P")
T = TypeVar("T")

_BLOCK_ROWS = 512
_BLOCKS = 8


class StoredRows(Sequence[Row]):
    """The rows of a scanned partition, in order; a few blocks of them are in memory at once.

    Made for going through in order, or nearly so: every other look-up reads a block.
    """

    def __init__(self, rows: pl.LazyFrame) -> None:
        self._rows = rows
        self._length: int = rows.select(pl.len()).collect().item()
        self._block = lru_cache(_BLOCKS)(self._read)

    def _read(self, number: int) -> pl.DataFrame:
        return self._rows.slice(number * _BLOCK_ROWS, _BLOCK_ROWS).collect()

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        places = range(self._length)[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        block, within = divmod(places, _BLOCK_ROWS)
        return self._block(block).row(within, named=True)

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, self._length, _BLOCK_ROWS):
            yield from self._block(start // _BLOCK_ROWS).iter_rows(named=True)

    def by(self, column: str) -> Mapping[str, Row]:
        """The rows by their value in `column`, which no two share."""
        places = {value: place for place, value in enumerate(self._column(column))}
        return _LookUp(places, self.__getitem__)

    def grouped(self, column: str) -> Mapping[str, Sequence[Row]]:
        """The rows that share a value in `column`, in order, by that value."""
        places: dict[str, list[int]] = {}
        for place, value in enumerate(self._column(column)):
            places.setdefault(value, []).append(place)
        return _LookUp(places, lambda group: [self[place] for place in group])

    def _column(self, column: str) -> pl.Series:
        return self._rows.select(column).collect()[column]


class _LookUp(Mapping[str, T], Generic[P, T]):
    """Values read when they are asked for, from their places."""

    def __init__(self, places: Mapping[str, P], read: Callable[[P], T]) -> None:
        self._places, self._read = places, read

    def __getitem__(self, key: str) -> T:
        return self._read(self._places[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
