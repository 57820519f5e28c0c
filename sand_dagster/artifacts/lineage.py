"""Where rows came from and what came of them: DuckDB in memory over an experiment's complete partitions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import polars as pl

from sand_dagster.artifacts.schemas import TABLES, Parent, Table
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.errors import ArtifactError

_IMPLIED = {("policy", "model_id"): (Parent("base_model"),)}
"""A parent that its column does not always hold: the first policy is the base model, later ones are not."""


class LineageError(ArtifactError):
    """A question about rows that cannot be answered."""


class Node(NamedTuple):
    """A row. `iteration` is None for a table without partitions; a base model is one node, not one a file."""

    table: str
    iteration: str | None
    id: str


class Link(NamedTuple):
    """`child` names `parent` in its column `column`."""

    child: Node
    column: str
    parent: Node


class _Reference(NamedTuple):
    """A column whose ids come from `parent`, where they stand in `match`."""

    table: str
    column: str
    parent: str
    match: str
    previous: bool


class Lineage:
    """An experiment's tables as SQL views, and the links between their rows.

    There is one view a table, over its complete partitions, with a column `iteration` (text, null for a table
    without partitions); a table without complete partitions has no view. `links` has a row for every parent
    that a row names and that is there. A snapshot: what is committed later is not seen.
    """

    def __init__(self, home: Path, experiment: str) -> None:
        self.experiment = experiment
        store = ArtifactStore(home, experiment)
        files = {name: files for name, table in TABLES.items() if (files := _complete(store, table))}
        self.tables = tuple(files)
        self._connection = duckdb.connect(":memory:")
        paths = [path for parts in files.values() for path in parts.values()]
        # DuckDB asks for leave twice, for the pattern and for the file that it matches.
        listed = ", ".join(_quoted(name) for path in paths for name in {str(path), _literal(path)})
        self._connection.execute(f"SET allowed_paths = [{listed}]")
        self._connection.execute("SET enable_external_access = false")
        for name, partitions in files.items():
            selects = (
                f"SELECT *, {_quoted(iteration) if iteration else 'NULL'}::VARCHAR AS iteration "
                f"FROM read_parquet({_quoted(_literal(path))}, hive_partitioning = false)"
                for iteration, path in partitions.items()
            )
            self._connection.execute(f"CREATE VIEW {name} AS {' UNION ALL BY NAME '.join(selects)}")
        self._references = list(_references(self.tables))
        self._linked = False

    def query(self, sql: str, params: Sequence[object] = ()) -> pl.DataFrame:
        """The result of one SELECT; `params` fill `$1`, `$2`, ... or `?`.

        Raises:
            LineageError: `sql` is not one SELECT, or names what is not there.
        """
        try:
            statements = self._connection.extract_statements(sql)
            if [s.type for s in statements] != [duckdb.StatementType.SELECT]:
                raise LineageError("one SELECT statement is expected; the tables are read only")
            if "links" in sql:
                self._link()
            return self._frame(sql, params)
        except duckdb.Error as error:
            there = ", ".join(self.tables) or "none yet"
            raise LineageError(f"{error}\nTables of experiment {self.experiment}: {there}") from error

    def find(self, id: str) -> list[Node]:
        """The rows with this id, in the tables' order, then the iterations'."""
        places = [(name, TABLES[name].key) for name in self.tables]
        places += [(r.parent, r.match) for r in self._references if r.match != TABLES[r.parent].key]
        selects = " UNION ALL ".join(
            f"SELECT {_quoted(table)}, iteration FROM {table} WHERE {column} = $1"
            for table, column in dict.fromkeys(places)
        )
        found = set(self._rows(selects, [id])) if selects else set()
        order = {name: place for place, name in enumerate(TABLES)}
        return sorted(
            (Node(table, k, id) for table, k in found), key=lambda n: (order[n.table], n.iteration or "")
        )

    def node(self, id: str, table: str | None = None, iteration: str | None = None) -> Node:
        """The row with this id: of the last iteration where several have it, unless one is named.

        Raises:
            LineageError: there is none.
        """
        found = [
            node
            for node in self.find(id)
            if table in (None, node.table) and iteration in (None, node.iteration)
        ]
        if not found:
            asked = "".join(
                f" {what} {value}" for what, value in (("table", table), ("iteration", iteration)) if value
            )
            raise LineageError(
                f"experiment {self.experiment} has no row with the id {id!r}{asked and ' in' + asked}; "
                f"complete tables: {', '.join(self.tables) or 'none yet'}"
            )
        return max(found, key=lambda node: node.iteration or "")

    def parents(self, node: Node) -> list[Link]:
        """The rows that `node` names, in its columns' order."""
        return self._links_where("child", node)

    def children(self, node: Node) -> list[Link]:
        """The rows that name `node`."""
        return self._links_where("parent", node)

    def ancestors(self, node: Node) -> pl.DataFrame:
        """All rows that `node` came from, through all iterations: `table`, `iteration`, `id`."""
        return self._reached(node, "child", "parent")

    def descendants(self, node: Node) -> pl.DataFrame:
        """All rows that came of `node`, through all iterations: `table`, `iteration`, `id`."""
        return self._reached(node, "parent", "child")

    def orphans(self, table: str | None = None, iteration: str | None = None) -> pl.DataFrame:
        """Ids in parent columns that no row has: `table`, `iteration`, `id`, `column`, `missing`.

        `table` and `iteration` narrow it to the rows of one table or partition.
        """
        wanted: dict[tuple[str, str], list[_Reference]] = {}
        for name in self.tables:
            if table in (None, name):
                wanted |= {(name, column): [] for column in TABLES[name].parents}
        for reference in self._references:
            if (reference.table, reference.column) in wanted:
                wanted[reference.table, reference.column].append(reference)
        schema = pl.Schema(dict.fromkeys(("table", "iteration", "id", "column", "missing"), pl.String()))
        frames = [pl.DataFrame(schema=schema)]
        for (name, column), references in wanted.items():
            known = "".join(
                f" AND NOT EXISTS (SELECT 1 FROM {r.parent} p WHERE p.{r.match} = c.ref AND {_same_place(r)})"
                for r in references
            )
            sql = (
                f'SELECT {_quoted(name)} AS "table", c.iteration, c.id, {_quoted(column)} AS "column", '
                f"c.ref AS missing FROM {_named(name, column)} c WHERE c.ref <> ''{known} "
                "AND ($1 IS NULL OR c.iteration = $1) ORDER BY ALL"
            )
            frames.append(self._frame(sql, [iteration]).cast(pl.String()))
        return pl.concat(frames)

    def _rows(self, sql: str, params: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(params)).fetchall()

    def _frame(self, sql: str, params: Sequence[object]) -> pl.DataFrame:
        frame: pl.DataFrame = self._connection.sql(sql, params=list(params)).pl()
        return frame

    def _links_where(self, side: str, node: Node) -> list[Link]:
        self._link()
        rows = self._rows(
            f"SELECT * FROM links WHERE {side}_id = $1 AND {side}_table = $2 "
            f"AND {side}_iteration IS NOT DISTINCT FROM $3 ORDER BY place, child_id",
            [node.id, node.table, node.iteration],
        )
        return [Link(Node(*row[:3]), row[3], Node(*row[4:7])) for row in rows]

    def _reached(self, node: Node, start: str, end: str) -> pl.DataFrame:
        self._link()
        return self._frame(
            f"""
            WITH RECURSIVE reached("table", iteration, id) AS (
                SELECT $1::VARCHAR, $2::VARCHAR, $3::VARCHAR
                UNION
                SELECT {end}_table, {end}_iteration, {end}_id FROM links JOIN reached r
                ON {start}_table = r."table" AND {start}_id = r.id
                AND {start}_iteration IS NOT DISTINCT FROM r.iteration
            )
            SELECT * FROM reached WHERE ("table", id) <> ($1, $3) OR iteration IS DISTINCT FROM $2
            ORDER BY ALL
            """,
            [*node],
        )

    def _link(self) -> None:
        """Make `links`, once: small beside the tables, and quicker to walk than they are."""
        if self._linked:
            return
        self._connection.execute(
            "CREATE TABLE links (child_table VARCHAR, child_iteration VARCHAR, child_id VARCHAR, "
            '"column" VARCHAR, parent_table VARCHAR, parent_iteration VARCHAR, parent_id VARCHAR, place INT)'
        )
        for r in self._references:
            self._connection.execute(
                f"INSERT INTO links SELECT {_quoted(r.table)}, c.iteration, c.id, {_quoted(r.column)}, "
                f"{_quoted(r.parent)}, p.iteration, c.ref, c.place FROM {_named(r.table, r.column)} c "
                f"JOIN (SELECT DISTINCT iteration, {r.match} AS id FROM {r.parent}) p "
                f"ON p.id = c.ref AND {_same_place(r)}"
            )
        self._linked = True


def _complete(store: ArtifactStore, table: Table) -> dict[str | None, Path]:
    """The data file of every complete partition, by iteration.

    Raises:
        TornArtifact: one of them is damaged.
    """
    iterations: list[str | None] = [*store.iterations(table.name)] if table.partitioned else [None]
    complete = (k for k in iterations if store.manifest(table.name, k) is not None)
    return {iteration: store.data(table.name, iteration) for iteration in complete}


def _references(tables: Sequence[str]) -> Iterator[_Reference]:
    """Every parent column of `tables` with each of the tables that its ids may come from, if that is there.

    An id is looked for in the parent's column of the same name (a model's id stands in every one of its
    files' rows), unless that names a parent of its own; else in the parent's key.
    """
    for name in tables:
        for column in TABLES[name].columns:
            parents = TABLES[name].parents.get(column, _IMPLIED.get((name, column), ()))
            for parent in parents:
                if parent.table in tables:
                    schema = TABLES[parent.table]
                    same = column in schema.columns.keys() - schema.parents.keys()
                    match = column if same else schema.key
                    yield _Reference(name, column, parent.table, match, parent.previous)


def _named(table: str, column: str) -> str:
    """A subquery with `iteration`, `id`, `ref` and its `place`, one row for every id that `column` holds."""
    listed = isinstance(TABLES[table].columns[column].dtype, pl.List)
    ref = f"unnest({column}) AS ref, generate_subscripts({column}, 1)" if listed else f"{column} AS ref, 1"
    return f"(SELECT iteration, {TABLES[table].key} AS id, {ref} AS place FROM {table})"


def _same_place(reference: _Reference) -> str:
    """The condition that parent `p` is of the iteration that child `c` takes its parents from."""
    if not TABLES[reference.parent].partitioned:
        return "true"
    if reference.previous:
        return "p.iteration = format('{:02d}', c.iteration::INT - 1)"
    return "p.iteration = c.iteration"


def _literal(path: Path) -> str:
    """`path` for a function that takes patterns."""
    return re.sub(r"([*?[])", r"[\1]", str(path))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
