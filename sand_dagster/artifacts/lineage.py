"""What rows were made from and what was made from them, across iterations, experiments and versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sand_dagster.artifacts.catalogue import input_place
from sand_dagster.artifacts.history import Version, all_versions, as_of, experiments_in
from sand_dagster.artifacts.part import Node, Part
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.sql import (
    Database,
    LineageError,
    Reference,
    references,
)
from sand_dagster.artifacts.store import ArtifactStore

__all__ = ["Lineage", "LineageError", "Link", "Links", "Node"]

CONTROL = "control_for"
"""Stands for the column in the link from a control to the checkpoint that set its token count."""

_SHORT = 8
_PREFIX = 4
"""An id can be shortened to this many letters."""

_ALIASES = {"base_model": "model_id"}
"""The column whose values are the nodes of a table instead of its rows: a base model is one node."""

_REFERENCES = tuple(references(tuple(TABLES)))

_MANY = 20
"""An error lists at most this many ids."""


class Link(NamedTuple):
    """`child` names `parent` in its column `column`."""

    child: Node
    column: str
    parent: Node


class Links(NamedTuple):
    """The rows that a node links to by one column, in one partition: how many, and which.

    `rows` are their places in the partition, in order.
    """

    column: str
    part: Part
    rows: Sequence[int]

    def nodes(self, limit: int | None = None) -> list[Node]:
        """The first `limit` of them."""
        return [self.part.node(row) for row in self.rows[:limit]]


class Lineage:
    """The links between an experiment's rows, and its tables in SQL (see `Database`).

    A snapshot: what is committed later is not seen. With `run`, the tables as that run left them.
    """

    def __init__(self, home: Path, experiment: str, run: str | None = None, **limits: Any) -> None:
        ArtifactStore(home, experiment)  # raises on an old layout
        self.home, self.experiment, self._run, self._limits = home, experiment, run, limits
        now = as_of(home, experiment, run)
        self.tables = tuple(name for name in TABLES if any(table == name for table, _ in now))
        self._parts: dict[tuple[str, str, str | None], list[Part]] = {}
        self._add(experiment, now)

    @cached_property
    def database(self) -> Database:
        """The tables in SQL."""
        return Database(self.home, self.experiment, self._run, **self._limits)

    def query(self, sql: str, params: Sequence[object] | Mapping[str, object] = ()) -> pl.DataFrame:
        """The result of one SELECT; `params` fill `$1`, `$2`, ... or `?`, or `$name`.

        Raises:
            LineageError: `sql` is not one SELECT, names what is not there, or passes a limit.
        """
        return self.database.query(sql, params)

    def find(self, id: str) -> list[Node]:
        """The rows with this id, in the tables' order, then the iterations'; earlier versions at the end."""
        found = [part.node_of(id) for part in self._own() if part.place(id) is not None]
        order = {name: place for place, name in enumerate(TABLES)}
        return sorted(found, key=lambda n: (n.version, order[n.table], n.iteration or ""))

    def node(self, id: str, table: str | None = None, iteration: str | None = None) -> Node:
        """The row with this id. If several iterations have it, the last one's, unless one is named.

        `id` may be the first letters of an id. A trajectory's id stands for its last step, in the last table.

        Raises:
            LineageError: there is none, or several ids begin with these letters.
        """
        found = self._narrowed(self.find(id), table, iteration)
        if not found:
            full = self.complete(id)
            found = self._narrowed(self.find(full), table, iteration)
            found = found or self._narrowed(self.trajectory(full), table, iteration)[-1:]
        if not found:
            asked = "".join(
                f" {what} {value}" for what, value in (("table", table), ("iteration", iteration)) if value
            )
            raise LineageError(
                f"experiment {self.experiment} has no row with the id {id!r}{asked and ' in' + asked}; "
                f"complete tables: {', '.join(self.tables) or 'none yet'}"
            )
        now = [node for node in found if not node.version] or found
        return max(now, key=lambda node: node.iteration or "")

    def complete(self, prefix: str) -> str:
        """The only id that begins with `prefix`; `prefix` itself if there is none, or it is too short.

        Raises:
            LineageError: there are several.
        """
        if len(prefix) < _PREFIX:
            return prefix
        found: set[str] = set()
        for part in self._own():
            found |= set(part.links.beginning(prefix, _MANY))
        if prefix in found or not found:
            return prefix
        if len(found) > 1:
            listed = ", ".join(sorted(found)[:_MANY])
            raise LineageError(f"{len(found)} or more ids begin with {prefix!r}: {listed}. Give more of one")
        return found.pop()

    def trajectory(self, id: str) -> list[Node]:
        """The steps of the trajectory: from D_delib if it is there, else D_exp, else the expert data.

        Those of the last iteration, in order.
        """
        for table in ("deliberation_trajectories", "expert_trajectories", "expert_data"):
            for part in sorted(self._own(), key=lambda part: part.iteration or "", reverse=True):
                if part.table == table and not part.version:
                    rows = part.links.naming(id).get("trajectory_id")
                    if rows is not None:
                        return [part.node(row) for row in rows]
        return []

    def parents(self, node: Node) -> list[Link]:
        """The rows that `node` names, in its columns' order."""
        return [Link(node, links.column, end) for links in self.up(node) for end in links.nodes()]

    def children(self, node: Node) -> list[Link]:
        """The rows that name `node`."""
        return [Link(end, links.column, node) for links in self.down(node) for end in links.nodes()]

    def ancestors(self, node: Node) -> pl.DataFrame:
        """All rows that `node` was made from, through all iterations: `table`, `iteration`, `id`."""
        return _frame(self.reached(node, up=True))

    def descendants(self, node: Node) -> pl.DataFrame:
        """All rows that were made from `node`, through all iterations: `table`, `iteration`, `id`."""
        return _frame(self.reached(node, up=False))

    def up(self, node: Node) -> list[Links]:
        """What `node` names."""
        part = self.part(node)
        row = part.place(node.id)
        return [] if row is None else self._up_from(part, [row])

    def up_all(self, nodes: Iterable[Node]) -> Iterator[Links]:
        """What `nodes` name, one partition at a time."""
        by_part: dict[Part, set[int]] = {}
        for node in nodes:
            part = self.part(node)
            if (row := part.place(node.id)) is not None:
                by_part.setdefault(part, set()).add(row)
        for part, rows in by_part.items():
            yield from self._up_from(part, sorted(rows))

    def down(self, node: Node) -> list[Links]:
        """What names `node`."""
        part = self.part(node)
        return list(self._down_from(part, [node.id]))

    def reached(self, node: Node, *, up: bool) -> list[Node]:
        """All rows that `node` was made from, or that were made from it."""
        seen, _ = self._reach(node, up=up, limit=None)
        nodes = (part.node(row) for part, rows in seen.items() for row in sorted(rows))
        return [each for each in dict.fromkeys(nodes) if each != node]

    def counts(self, node: Node, *, up: bool, limit: int) -> tuple[dict[str, int], bool]:
        """How many rows of each table `reached` finds, and whether these are all; it stops after `limit`."""
        seen, complete = self._reach(node, up=up, limit=limit)
        counts: dict[str, int] = {}
        for part, rows in seen.items():
            counts[part.table] = counts.get(part.table, 0) + len(rows)
        counts[node.table] -= 1
        return {table: count for table, count in counts.items() if count}, complete

    def _reach(self, node: Node, *, up: bool, limit: int | None) -> tuple[dict[Part, set[int]], bool]:
        """The places of the rows by partition, including `node` itself; each step follows those of a
        partition together."""
        start = self.part(node)
        row = start.place(node.id)
        if row is None:
            return {}, True
        seen: dict[Part, set[int]] = {start: {row}}
        waiting: dict[Part, set[int]] = {start: {row}}
        count = 0
        while waiting and (limit is None or count < limit):
            part, rows = waiting.popitem()
            ordered = sorted(rows)
            found = (
                self._up_from(part, ordered)
                if up
                else self._down_from(part, [part.node(row).id for row in ordered])
            )
            for links in found:
                there = seen.setdefault(links.part, set())
                new = set(links.rows) - there
                if new:
                    count += len(new)
                    there |= new
                    waiting.setdefault(links.part, set()).update(new)
        return seen, not waiting

    def values(
        self, nodes: Sequence[Node], columns: Mapping[str, Sequence[str]]
    ) -> dict[Node, dict[str, Any]]:
        """The values of each node in the `columns` of its table, read one partition at a time."""
        by_part: dict[Part, dict[Node, int]] = {}
        for node in nodes:
            part = self.part(node)
            row = part.place(node.id)
            if row is not None:
                by_part.setdefault(part, {})[node] = row
        found_values: dict[Node, dict[str, Any]] = {}
        for part, rows in by_part.items():
            values = part.rows(sorted(set(rows.values())), columns[part.table])
            found_values |= {node: values[row] for node, row in rows.items()}
        return found_values

    def row(self, node: Node) -> dict[str, Any]:
        """All columns of the row."""
        part = self.part(node)
        place = part.place(node.id)
        assert place is not None
        return part.rows([place], list(part.schema.columns))[place]

    def part(self, node: Node) -> Part:
        """The partition that has the node."""
        owner = node.experiment or self.experiment
        for part in self._partitions(owner).get((owner, node.table, node.iteration), []):
            if part.version == node.version:
                return part
        raise LineageError(f"no partition has the row {node.table} {node.id}")

    def _add(self, experiment: str, now: Mapping[tuple[str, str | None], Version]) -> None:
        """The partitions of an experiment: the current ones, then earlier versions with other rows."""
        for (table, iteration), kept in all_versions(self.home, experiment).items():
            there = self._parts.setdefault((experiment, table, iteration), [])
            asked = now.get((table, iteration))
            hashes: set[str] = set()
            for version in [*([asked] if asked else []), *reversed(kept)]:
                if version.manifest.content_hash in hashes:
                    continue
                hashes.add(version.manifest.content_hash)
                short = "" if version is asked else version.manifest.content_hash[:_SHORT]
                owner = "" if experiment == self.experiment else experiment
                there.append(Part(version, table, iteration, owner, short, _ALIASES.get(table)))

    def _partitions(self, experiment: str) -> dict[tuple[str, str, str | None], list[Part]]:
        if not any(owner == experiment for owner, _, _ in self._parts):
            self._add(experiment, as_of(self.home, experiment, None))
        return self._parts

    def _own(self) -> Iterator[Part]:
        for (owner, _, _), parts in self._parts.items():
            if owner == self.experiment:
                yield from parts

    def _narrowed(self, found: list[Node], table: str | None, iteration: str | None) -> list[Node]:
        return [n for n in found if table in (None, n.table) and iteration in (None, n.iteration)]

    def _up_from(self, part: Part, rows: Sequence[int]) -> list[Links]:
        """What the rows of one partition name."""
        owner = part.experiment or self.experiment
        found = list(self._controls_up(part))
        by_column: dict[str, list[Reference]] = {}
        for reference in _REFERENCES:
            if reference.table == part.table:
                by_column.setdefault(reference.column, []).append(reference)
        values = part.ids(rows, list(by_column))
        for column, sources in by_column.items():
            ids: Sequence[str] = values[column]
            if not ids:
                continue
            read = [self._read(part, owner, reference) for reference in sources]
            # Usually the table that has the first id has them all.
            for there in sorted(read, key=lambda there: not any(p.place(ids[0]) is not None for p in there)):
                for source in there:
                    places, rest = source.places(ids) if ids else ((), ids)
                    if places:
                        found.append(Links(column, source, places))
                        ids = rest
        return found

    def _down_from(self, part: Part, ids: Sequence[str]) -> Iterator[Links]:
        """What names rows of one partition."""
        owner = part.experiment or self.experiment
        for reference in _REFERENCES:
            if reference.parent != part.table:
                continue
            for (whose, table, _), children in list(self._partitions(owner).items()):
                if whose != owner or table != reference.table:
                    continue
                for child in children:
                    if not self._made_of(child, part, reference):
                        continue
                    rows = child.naming(ids, reference.column)
                    if len(rows):
                        yield Links(reference.column, child, rows)
        yield from self._controls_down(part)

    def _made_of(self, child: Part, part: Part, reference: Reference) -> bool:
        """Whether the parents of `child` by `reference` are in `part`."""
        return any(
            source is part for source in self._read(child, child.experiment or self.experiment, reference)
        )

    def _read(self, part: Part, owner: str, reference: Reference) -> list[Part]:
        """The version of the parent's table that a partition was made from; the current one if that is not
        recorded or not kept."""
        iteration = None
        if TABLES[reference.parent].partitioned:
            if part.iteration is None:
                return []
            iteration = f"{int(part.iteration) - reference.previous:02}"
        there = self._parts.get((owner, reference.parent, iteration), [])
        name = f"{reference.parent} {iteration}" if reference.previous else reference.parent
        made_of = part.inputs.get(name)
        return [source for source in there if source.content_hash == made_of] or there[:1]

    def _controls_up(self, part: Part) -> Iterator[Links]:
        """The checkpoint that set a control's token count."""
        for name, content_hash in part.inputs.items():
            owner, table, iteration = input_place(name, part.experiment or self.experiment, part.iteration)
            if "/" not in name or not (self.home / owner).is_dir():
                continue
            there = self._partitions(owner).get((owner, table, iteration), [])
            same = [source for source in there if source.content_hash == content_hash] or there[:1]
            for source in same:
                yield Links(CONTROL, source, range(len(source.links.keys)))

    def _controls_down(self, part: Part) -> Iterator[Links]:
        """The controls whose token count a checkpoint set."""
        if part.table != "checkpoints":
            return
        owner = part.experiment or self.experiment
        name = f"{owner}/{part.table}"
        for other in experiments_in(self.home):
            if other == owner:
                continue
            for child in self._partitions(other).get((other, part.table, part.iteration), []):
                if name in child.inputs:
                    yield Links(CONTROL, child, range(len(child.links.keys)))


def _frame(nodes: Sequence[Node]) -> pl.DataFrame:
    rows = [(node.table, node.iteration, node.id) for node in nodes]
    schema = {"table": pl.String, "iteration": pl.String, "id": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("table", "iteration", "id")
