"""Ids in parent columns that no row has."""

from __future__ import annotations

import polars as pl

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.sql import Database, Reference, named, same_place


def orphans(database: Database, table: str | None = None, iteration: str | None = None) -> pl.DataFrame:
    """Ids of parents without a row: `table`, `iteration`, `id`, `column`, `missing`.

    `table` and `iteration` narrow it to the rows of one table or partition. Models of remote servers are not
    counted: only their names are known.
    """
    wanted: dict[tuple[str, str], list[Reference]] = {}
    for name in database.tables:
        if table in (None, name):
            wanted |= {(name, column): [] for column in TABLES[name].parents}
    for reference in database.references:
        if (reference.table, reference.column) in wanted:
            wanted[reference.table, reference.column].append(reference)
    schema = pl.Schema(dict.fromkeys(("table", "iteration", "id", "column", "missing"), pl.String()))
    frames = [pl.DataFrame(schema=schema)]
    for (name, column), sources in wanted.items():
        known = "".join(
            f" AND NOT EXISTS (SELECT 1 FROM {r.parent} p WHERE p.{r.match} = c.ref AND {same_place(r)})"
            for r in sources
        )
        sql = (
            f"SELECT '{name}' AS \"table\", c.iteration, c.id, '{column}' AS \"column\", "
            f"c.ref AS missing FROM {named(name, column)} c WHERE c.ref <> ''{known} "
            "AND ($1 IS NULL OR c.iteration = $1) ORDER BY ALL"
        )
        frames.append(database.query(sql, [iteration]).cast(pl.String()))
    served = (pl.col("column") == "model_id") & ~pl.col("missing").str.contains("^[0-9a-f]{64}$")
    return pl.concat(frames).filter(~served)
