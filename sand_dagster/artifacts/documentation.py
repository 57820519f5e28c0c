"""`docs/tables.md`: the tables as their rows' definitions describe them."""

from __future__ import annotations

import polars as pl

from sand_dagster.artifacts.schemas import TABLES, Column, Table

_WORDS: dict[type, str] = {pl.String: "text", pl.Int64: "int", pl.Float64: "float", pl.Boolean: "bool"}

_HEAD = """# The tables

A table is one Parquet file for each iteration, `$SAND_HOME/<experiment>/<table>/iteration=<k>/data.parquet`,
or one for all iterations. The first column is the row's id: a hash of what determines the row. A column
that holds ids of other rows names their tables. In SQL (`sand sql`) each table is a view with the extra
column `iteration`, and these texts are its comments:
`SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'rollouts'`.

This page is made from the definitions in `sand_dagster/rows/` by `make docs`.
"""


def page() -> str:
    """`docs/tables.md`."""
    return "\n".join([_HEAD, *map(_section, TABLES.values())])


def _section(table: Table) -> str:
    where = "One partition for each iteration." if table.partitioned else "One for all iterations."
    rows = [
        f"| `{name}` | {_type(column.dtype)} | {_cell(column.description)} | {_parents(column)} |"
        for name, column in table.columns.items()
    ]
    head = ["| column | type | what it holds | rows of |", "|---|---|---|---|"]
    return "\n".join([f"## {table.name}\n", f"A row is {table.row}. {where}\n", *head, *rows]) + "\n"


def _type(dtype: object) -> str:
    if isinstance(dtype, pl.List):
        return f"list of {_type(dtype.inner)}"
    if isinstance(dtype, pl.Struct):
        return f"({', '.join(f'{field.name}: {_type(field.dtype)}' for field in dtype.fields)})"
    return _WORDS[type(dtype)]


def _parents(column: Column) -> str:
    return ", ".join(
        f"{parent.table} of the iteration before" if parent.previous else parent.table
        for parent in column.parents
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
