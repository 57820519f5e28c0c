"""What a file or folder of trajectories holds, row by row: JSON, JSON lines, or a dataset's Parquet files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from sand_dagster.fingerprints import content_digest, file_digest

_BETWEEN_ROWS = re.compile(r"[\s,\[\]]*")
_ROW_START = re.compile(r'\{\s*"(?:id|game_file)"\s*:')
_PARQUET = ".parquet"
FORMAT = (
    "expected ETO's format: "
    "[{'id', 'game_file', 'conversations': [{'role', 'content'} or {'from', 'value'}, …]}, …]; the same as "
    "JSON lines, with `messages` for `conversations`; or a dataset's folder with these columns in Parquet "
    "files"
)


class RecordError(ValueError):
    """Nothing in a trajectory file can be used. The message names the file, the problem, and what to do."""


class Broken(ValueError):
    """What is wrong with one row."""


def rows_in(path: Path) -> Iterator[object]:
    """The rows' values, in the file's order, with a `Broken` for each row that cannot be read.

    Raises:
        RecordError: there is no such file, or it is none of these formats.
    """
    if path.is_dir() or path.suffix == _PARQUET:
        yield from _rows_of_tables(path)
    else:
        yield from _rows_of_json(path)


def content_of(path: Path) -> str:
    """A hash of all that `rows_in` would read; empty if there is nothing."""
    if path.is_dir():
        return content_digest(path, tables) if (tables := _tables(path)) else ""
    return file_digest(path) if path.is_file() else ""


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob(f"*{_PARQUET}") if path.is_file())


def _rows_of_tables(path: Path) -> Iterator[object]:
    tables = _tables(path) if path.is_dir() else [path]
    if not tables:
        raise RecordError(f"the folder {path} holds no Parquet file; {FORMAT}")
    for table in tables:
        try:
            yield from pl.read_parquet(table, hive_partitioning=False, glob=False).iter_rows(named=True)
        except FileNotFoundError as error:
            raise RecordError(
                f"there is no trajectory file {table}; give an existing one, or leave it out"
            ) from error
        except pl.exceptions.PolarsError as error:
            raise RecordError(f"{table} is not a whole Parquet file: {error}; {FORMAT}") from error


def _rows_of_json(path: Path) -> Iterator[object]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecordError(
            f"there is no trajectory file {path}; give an existing one, or leave it out"
        ) from error
    except ValueError as error:
        raise RecordError(f"{path} is not a JSON file: {error}; {FORMAT}") from error
    try:
        rows: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not text.lstrip().startswith(("[", "{")):
            raise RecordError(f"{path} is not a JSON file: {error}; {FORMAT}") from error
        yield from _rows_of_torn(text)
        return
    if isinstance(rows, dict) and rows.keys() & {"conversations", "messages"}:
        rows = [rows]
    if not isinstance(rows, list):
        raise RecordError(f"{path}: expected a JSON list, found {type(rows).__name__}; {FORMAT}")
    yield from rows


def _rows_of_torn(text: str) -> Iterator[object]:
    decoder = json.JSONDecoder()
    place = 0
    while True:
        between = _BETWEEN_ROWS.match(text, place)
        assert between is not None
        place = between.end()
        if place == len(text):
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            yield Broken(f"not whole JSON: {error}")
            following = _ROW_START.search(text, place + 1)
            if following is None:
                return
            place = following.start()
        else:
            yield value
