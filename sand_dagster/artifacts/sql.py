"""An experiment's tables in SQL: DuckDB in memory, no other files, limits of time and memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import duckdb
import polars as pl

from sand_dagster.artifacts.catalogue import INPUTS, MANIFESTS, inputs_frame, manifests_frame
from sand_dagster.artifacts.history import (
    DATA,
    as_of,
    current_versions,
    experiments_in,
    partition_folders,
)
from sand_dagster.artifacts.left_out import LEFT_OUT, left_out_sql
from sand_dagster.artifacts.schemas import TABLES, Column
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.errors import ArtifactError
from sand_dagster.rows.row import Parent

IMPLIED = {("policy", "model_id"): (Parent("base_model"),)}
"""A parent that is not in every row: the first policy is the base model, later ones are not."""

EVERYWHERE = "everywhere"
"""The schema whose views hold the rows of all experiments, with a column `experiment`."""

LINK_COLUMNS = {
    "child_table": "the table of the row that names the parent",
    "child_iteration": "its iteration; null if the table has none",
    "child_id": "its id",
    "column": "the column that names the parent",
    "parent_table": "the table of the row that is named",
    "parent_iteration": "its iteration; null if the table has none",
    "parent_id": "its id",
    "place": "the id's place in the column's list, from 1",
}


class LineageError(ArtifactError):
    """A question about rows that cannot be answered."""


class Extra(NamedTuple):
    """A view of data outside the tables, such as Dagster's runs; it is made when a query names it."""

    make: Callable[[], pl.DataFrame]
    columns: Mapping[str, str]
    """What each column holds."""


class Reference(NamedTuple):
    """A column whose ids come from column `match` of `parent`."""

    table: str
    column: str
    parent: str
    match: str
    previous: bool


class Database:
    """SQL over an experiment's complete partitions.

    There is one view for each table, with a column `iteration` (text, null for a table without partitions); a
    table without complete partitions has none. There are also `links`, `left_out`, `manifests`, `inputs`,
    `extras`. The tables of another experiment are in the schema of its name (`"household-base".rollouts`),
    those of all in `everywhere`. A snapshot: what is committed later is not seen.

    Every file is checked before it is read: a damaged one raises `TornArtifact`.
    """

    def __init__(
        self,
        home: Path,
        experiment: str,
        run: str | None = None,
        *,
        seconds: float = 60.0,
        memory: str = "2GB",
        extras: Mapping[str, Extra] | None = None,
        until: str | None = None,
    ) -> None:
        """
        Args:
            home: `$SAND_HOME`.
            experiment: whose tables have no schema before their names.
            run: its tables as that run left them.
            seconds: of each query at most.
            memory: of each query at most.
            extras: more tables, by name.
            until: its current tables up to this iteration only.
        """
        ArtifactStore(home, experiment)  # raises on an old layout
        self.home, self.experiment, self._seconds = home, experiment, seconds
        own = current_versions(home, experiment, until) if run is None else as_of(home, experiment, run)
        self._snapshots = {experiment: own}
        self._experiments = list(dict.fromkeys([*experiments_in(home), experiment]))
        self.tables = tuple(name for name in TABLES if any(table == name for table, _ in own))
        self._connection = duckdb.connect(":memory:")
        paths = [version.file for version in own.values()]
        paths += [
            folder / DATA for name in self._experiments for _, _, folder in partition_folders(home, name)
        ]
        # DuckDB checks two paths: the pattern and the file that it matches.
        listed = ", ".join(_quoted(name) for path in paths for name in {str(path), _literal(path)})
        try:
            self._connection.execute(f"SET memory_limit = {_quoted(memory)}")
        except duckdb.Error as error:
            raise LineageError(
                f"a limit of memory is a size such as 2GB, found {memory!r}: {error}"
            ) from None
        self._connection.execute("SET enable_progress_bar = false")
        self._connection.execute("SET temp_directory = ''")
        self._connection.execute(f"SET allowed_paths = [{listed}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET python_enable_replacements = false")
        self.references = list(references(self.tables))
        self._later: dict[str, Callable[[], None]] = {}
        for name in self.tables:
            self._view("main", name, [experiment], name)
        self._later["links"] = self._make_links
        self._later[LEFT_OUT] = self._make_left_out
        there = Extra(partial(manifests_frame, home), MANIFESTS), Extra(partial(inputs_frame, home), INPUTS)
        for name, extra in {"manifests": there[0], "inputs": there[1], **(extras or {})}.items():
            self._later[name] = partial(self._register, name, extra)
        for schema in (EVERYWHERE, *self._experiments):
            self._later[schema] = partial(self._make_schema, schema)

    def query(self, sql: str, params: Sequence[object] | Mapping[str, object] = ()) -> pl.DataFrame:
        """The result of one SELECT; `params` fill `$1`, `$2`, ... or `?`, or `$name`.

        Raises:
            LineageError: `sql` is not one SELECT, names something that does not exist, or exceeds a limit.
        """
        try:
            statements = self._connection.extract_statements(sql)
            if [s.type for s in statements] != [duckdb.StatementType.SELECT]:
                raise LineageError("one SELECT statement is expected; the tables are read only")
            for name in [name for name in self._later if name in sql]:
                self._later.pop(name)()
            return self._limited(sql, params)
        except duckdb.Error as error:
            there = ", ".join(self.tables) or "none yet"
            raise LineageError(f"{error}\nTables of experiment {self.experiment}: {there}") from error

    def parameters(self, sql: str) -> set[str]:
        """The names of the parameters of `sql`.

        Raises:
            LineageError: it cannot be read.
        """
        try:
            return {name for s in self._connection.extract_statements(sql) for name in s.named_parameters}
        except duckdb.Error as error:
            raise LineageError(str(error)) from error

    def _limited(self, sql: str, params: Sequence[object] | Mapping[str, object]) -> pl.DataFrame:
        timer = threading.Timer(self._seconds, self._connection.interrupt)
        timer.start()
        try:
            values = dict(params) if isinstance(params, Mapping) else list(params)
            frame: pl.DataFrame = self._connection.sql(sql, params=values).pl()
            return frame
        except (duckdb.InterruptException, duckdb.OutOfMemoryException) as error:
            if isinstance(error, duckdb.OutOfMemoryException):
                raise LineageError(f"the query needs more memory than it may have: {error}") from error
            raise LineageError(
                f"the query took longer than {self._seconds:g} s and was stopped; narrow it, or allow more"
            ) from error
        finally:
            timer.cancel()

    def _make_schema(self, schema: str) -> None:
        self._connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_name(schema)}")
        names = self._experiments if schema == EVERYWHERE else [schema]
        for name in names:
            if name not in self._snapshots:
                self._snapshots[name] = current_versions(self.home, name)
        for table in TABLES:
            having = [name for name in names if any(there == table for there, _ in self._snapshots[name])]
            if having:
                self._view(schema, table, having, table)

    def _view(self, schema: str, view: str, experiments: Sequence[str], table: str) -> None:
        selects = []
        for experiment in experiments:
            named = f", {_quoted(experiment)} AS experiment" if schema == EVERYWHERE else ""
            selects += [
                f"SELECT *, {_quoted(k) if k else 'NULL'}::VARCHAR AS iteration{named} "
                f"FROM read_parquet({_quoted(_literal(version.data))}, hive_partitioning = false)"
                for (name, k), version in self._snapshots[experiment].items()
                if name == table
            ]
        place = f"{_name(schema)}.{_name(view)}"
        self._connection.execute(f"CREATE VIEW {place} AS {' UNION ALL BY NAME '.join(selects)}")
        self._describe(place, TABLES[table].row, described(TABLES[table].columns))

    def _describe(self, place: str, what: str, columns: Mapping[str, str]) -> None:
        """Comments on a view and on those of `columns` that it has."""
        there = {row[0] for row in self._connection.execute(f"DESCRIBE {place}").fetchall()}
        comments = [f"COMMENT ON VIEW {place} IS {_quoted(what)}"]
        comments += [
            f"COMMENT ON COLUMN {place}.{_name(name)} IS {_quoted(text)}"
            for name, text in columns.items()
            if name in there
        ]
        self._connection.execute(";".join(comments))

    def _register(self, name: str, extra: Extra) -> None:
        self._connection.register(f"{name} rows", extra.make())
        self._connection.execute(f'CREATE VIEW {_name(name)} AS SELECT * FROM "{name} rows"')
        self._describe(_name(name), name, extra.columns)

    def _make_links(self) -> None:
        selects = [
            f"SELECT {_quoted(r.table)} AS child_table, c.iteration AS child_iteration, c.id AS child_id, "
            f'{_quoted(r.column)} AS "column", {_quoted(r.parent)} AS parent_table, '
            f"p.iteration AS parent_iteration, c.ref AS parent_id, c.place "
            f"FROM {named(r.table, r.column)} c "
            f"JOIN (SELECT DISTINCT iteration, {r.match} AS id FROM {r.parent}) p "
            f"ON p.id = c.ref AND {same_place(r)}"
            for r in self.references
        ]
        empty = ", ".join(f'NULL::VARCHAR AS "{name}"' for name in LINK_COLUMNS)
        self._connection.execute(
            f"CREATE VIEW links AS {' UNION ALL '.join(selects) or f'SELECT {empty} WHERE false'}"
        )
        self._describe(
            "links",
            "one row for each link: the row that names another, and the row that it names",
            LINK_COLUMNS,
        )

    def _make_left_out(self) -> None:
        sql, columns = left_out_sql(self.tables)
        self._connection.execute(f"CREATE VIEW {LEFT_OUT} AS {sql}")
        self._describe(LEFT_OUT, "everything that a stage left out, and why", columns)


def described(columns: Mapping[str, Column]) -> dict[str, str]:
    """What the columns of a table's view hold."""
    texts = {name: column.description for name, column in columns.items()}
    return texts | {
        "iteration": "the partition; null if the table has none",
        "experiment": "whose row it is",
    }


def references(tables: Sequence[str]) -> Iterator[Reference]:
    """Every parent column of `tables` with each of the existing tables that its ids may come from.

    An id is looked up in the parent's column of the same name (all rows of a model's files have the model's
    id), unless that column names another parent; else in the parent's key.
    """
    for name in tables:
        for column in TABLES[name].columns:
            parents = TABLES[name].parents.get(column, IMPLIED.get((name, column), ()))
            for parent in parents:
                if parent.table in tables:
                    schema = TABLES[parent.table]
                    same = column in schema.columns.keys() - schema.parents.keys()
                    match = column if same else schema.key
                    yield Reference(name, column, parent.table, match, parent.previous)


def named(table: str, column: str) -> str:
    """A subquery with `iteration`, `id`, `ref` and its `place`, one row for every id that `column` holds."""
    listed = isinstance(TABLES[table].columns[column].dtype, pl.List)
    ref = f"unnest({column}) AS ref, generate_subscripts({column}, 1)" if listed else f"{column} AS ref, 1"
    return f"(SELECT iteration, {TABLES[table].key} AS id, {ref} AS place FROM {table})"


def same_place(reference: Reference) -> str:
    """The condition that parent `p` is in the iteration that the parents of child `c` are in."""
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


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
