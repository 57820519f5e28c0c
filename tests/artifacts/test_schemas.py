"""A table follows the definition of its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, ClassVar

import polars as pl
import pytest
from pydantic import ValidationError

from sand_dagster.artifacts.schemas import TABLES, table_of
from sand_dagster.ids import digest
from sand_dagster.rows.plain import check, plain, problem, typed
from sand_dagster.rows.row import Parent, Part, Row, TaskId, of


class Colour(StrEnum):
    RED = "red"


class Shade(StrEnum):
    DARK = "dark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg(Part):
    length: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChairRow(Row):
    """A chair, or a stool."""

    table: ClassVar = "chairs"
    partitioned: ClassVar = False

    chair_id: Annotated[str, "id of the chair"]
    task_id: TaskId
    room_id: Annotated[str, "where it stands", (Parent("rooms", previous=True), *of("halls"))]
    colour: Annotated[Colour | Shade, "as painted"]
    legs: Annotated[tuple[Leg, ...], "from the left"]
    seats: Annotated[int | None, "null: none"]


CHAIR = ChairRow(
    chair_id="c", task_id="t", room_id="r", colour=Shade.DARK, legs=(Leg(length=1.5),), seats=None
)


def test_a_table_is_made_from_its_rows_definition() -> None:
    table = table_of(ChairRow)
    assert (table.name, table.row, table.key, table.partitioned) == (
        "chairs",
        "a chair, or a stool",
        "chair_id",
        False,
    )
    assert table.schema == {
        "chair_id": pl.String(),
        "task_id": pl.String(),
        "room_id": pl.String(),
        "colour": pl.String(),
        "legs": pl.List(pl.Struct({"length": pl.Float64()})),
        "seats": pl.Int64(),
    }
    assert table.columns["legs"].description == "from the left"
    assert table.parents == {
        "task_id": (Parent("tasks"),),
        "room_id": (Parent("rooms", True), Parent("halls")),
    }


def test_parents_are_tables_that_there_are() -> None:
    named = {parent.table for table in TABLES.values() for ps in table.parents.values() for parent in ps}
    assert named <= TABLES.keys()


def test_a_row_and_its_plain_values_are_the_same() -> None:
    values = plain(CHAIR)
    assert list(values) == list(table_of(ChairRow).columns)
    assert values["colour"] == "dark" and values["legs"] == ({"length": 1.5},)
    back = typed(ChairRow, {**values, "colour": "dark", "legs": [{"length": 1.5}]})
    assert back == CHAIR and back.colour is Shade.DARK
    assert digest(CHAIR) == digest(values), "a unit that a row is an input of has one key"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seats": "four"}, ", column seats: .* valid integer.*, found str 'four'"),
        ({"legs": [{"length": "long"}]}, ", column legs.0.length: .* valid number.*, found str 'long'"),
        ({"colour": "blue"}, ", column colour: .*, found str 'blue'"),
        ({"doors": 1}, ", column doors: Unexpected keyword argument, found int 1"),
    ],
)
def test_other_values_are_refused_by_name(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        typed(ChairRow, plain(CHAIR) | changed)
    assert re.fullmatch(message, problem(refused.value))


def test_a_row_that_is_checked_has_its_types_already() -> None:
    assert check(ChairRow, CHAIR) == CHAIR
    with pytest.raises(ValidationError, match="valid tuple"):
        check(ChairRow, replace(CHAIR, legs=[]))  # type: ignore[arg-type]
