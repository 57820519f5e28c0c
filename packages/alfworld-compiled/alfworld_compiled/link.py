"""Linking a grammar's queries to the tables of a game's facts."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import prod
from typing import Any

from alfworld_compiled.grammar import Node, Query, Rule
from alfworld_compiled.grounding import Atom, Grounded
from alfworld_compiled.queries import ALWAYS, DENIED, NEGATION, STATED
from alfworld_compiled.refusal import UnsupportedGame

_MAX_SIGNATURES = 5_000
_MAX_COMBINATIONS = 2_000_000


class Linker:
    """Makes the tables that queries need, each once.

    `slots` has the facts that an action can change, `stated` all facts of the text's initial state.
    """

    def __init__(
        self,
        grounded: Grounded,
        variables: dict[tuple[str, str], int],
        slots: dict[Atom, int],
        stated: set[Atom],
    ) -> None:
        from textworld.logic import Type, TypeHierarchy

        self.tables: list[list[Any]] = []
        self._variables, self._slots, self._objects = variables, slots, grounded.objects
        self._numbers: dict[tuple[str, tuple[str, ...]], int] = {}
        self._atoms: dict[tuple[str, tuple[str, ...]], list[Atom]] = {}
        for atom in stated | slots.keys():
            types = tuple(grounded.objects[a] for a in atom.arguments)
            self._atoms.setdefault((atom.predicate, types), []).append(atom)
        self._types = TypeHierarchy()
        for name, supertypes in grounded.types:
            if name not in {t.name for t in self._types}:
                self._types.add(Type(name, supertypes))

    def nodes(self, nodes: Iterable[Node]) -> list[Node]:
        """`nodes` with their queries linked."""
        return [
            ["slot", node[1], node[2] and self.query(node[2]), node[3]] if node[0] == "slot" else node
            for node in nodes
        ]

    def rules(self, rules: Iterable[Rule]) -> list[Rule]:
        """`rules` with their conditions and queries linked."""
        return [[condition and self.query(condition), self.nodes(body)] for condition, body in rules]

    def query(self, query: Query) -> list[Any]:
        """A query whose predicates are `[tables, placeholders, bit]`.

        Raises:
            UnsupportedGame: it names an unknown type, or has too many combinations.
        """
        linked = [self._predicate(name, placeholders) for name, placeholders in query]
        self._check_size(linked)
        return linked

    def _predicate(self, name: str, placeholders: list[list[str]]) -> list[Any]:
        base, bit = (name.removeprefix(NEGATION), DENIED) if name.startswith(NEGATION) else (name, STATED)
        numbers = [
            self._table(base, types)
            for types in self._signatures([type_ for _, type_ in placeholders])
            if (base, types) in self._atoms
        ]
        return [numbers, placeholders, bit]

    def _signatures(self, types: list[str]) -> list[tuple[str, ...]]:
        """The types, and all tuples of their subtypes, in textworld's order."""
        known = {t.name for t in self._types}
        if unknown := [t for t in types if t not in known]:
            raise UnsupportedGame(f"a query over the type {unknown[0]!r}, which is not in its domain")
        wanted = [self._types.get(t) for t in types]
        if prod(1 + len(list(t.descendants)) for t in wanted) > _MAX_SIGNATURES:
            raise UnsupportedGame("a query over so many types")
        return [tuple(t.name for t in signature) for signature in self._types.multi_subtypes(wanted)]

    def _table(self, predicate: str, types: tuple[str, ...]) -> int:
        if (predicate, types) not in self._numbers:
            rows: list[int] = []
            for atom in sorted(self._atoms[predicate, types], key=lambda a: a.arguments):
                rows.extend(self._variables[a, self._objects[a]] for a in atom.arguments)
                rows.append(self._slots.get(atom, ALWAYS))
            self._numbers[predicate, types] = len(self.tables)
            self.tables.append([predicate, list(types), rows])
        return self._numbers[predicate, types]

    def _check_size(self, linked: list[Any]) -> None:
        """Refuse a query that could take too long, because unrelated conjuncts multiply."""
        combinations, seen = 1, set[tuple[str, str]]()
        for numbers, placeholders, _ in linked:
            keys = [(name, type_) for name, type_ in placeholders]
            columns = [c for c, key in enumerate(keys) if key in seen]
            combinations *= max(1, sum(self._widest(n, columns, len(keys)) for n in numbers))
            seen.update(keys)
        if combinations > _MAX_COMBINATIONS:
            raise UnsupportedGame(f"a query of up to {combinations} combinations")

    def _widest(self, number: int, columns: list[int], arity: int) -> int:
        rows = self.tables[number][2]
        starts = range(0, len(rows), arity + 1)
        counts: dict[tuple[int, ...], int] = {}
        for start in starts:
            key = tuple(rows[start + c] for c in columns)
            counts[key] = counts.get(key, 0) + 1
        return max(counts.values(), default=0)


def first_changing(queries: Iterable[Query], changing: Collection[str]) -> str | None:
    """The first predicate in `queries` that is among `changing`, if there is one."""
    for query in queries:
        for name, _ in query:
            if name.removeprefix(NEGATION) in changing:
                return str(name)
    return None
