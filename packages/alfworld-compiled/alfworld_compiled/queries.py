"""Conjunctive queries over a state's facts, answered in the order in which textworld answers them.

A state is a string of bytes, one for every fact that can change. Its lowest bit is the planner's truth. The
other two bits decide the texts, and may differ from it: textworld keeps its own facts. They start as the true
facts, and every effect of an action is added or removed, even a conditional effect that did not fire. And a
fact is *known to be false* (`not_p`) only after an action made it false.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

TRUE, STATED, DENIED = 1, 2, 4
"""Bits of a fact: true for the planner; a fact of the text; a negated fact of the text."""

ALWAYS = -1
"""Instead of a slot: the fact is stated and never changes."""

NEGATION = "not_"

Placeholder = tuple[str, str]
"""Name and type."""

Binding = dict[Placeholder, int]
"""The values of the placeholders: variables, i.e. objects under a type."""


class Row(NamedTuple):
    """A fact's arguments, and its slot in the state."""

    arguments: tuple[int, ...]
    slot: int


class Predicate(NamedTuple):
    """One conjunct: the tables to search, in order, and how to bind their columns."""

    tables: tuple[Table, ...]
    placeholders: tuple[Placeholder, ...]
    bit: int


@dataclass(eq=False, slots=True)
class Table:
    """All possible facts of a predicate over given types, sorted by their arguments' identifiers."""

    rows: tuple[Row, ...]
    _index: dict[tuple[int, ...], dict[tuple[int, ...], tuple[Row, ...]]] = field(default_factory=dict)

    def matching(self, columns: tuple[int, ...], values: tuple[int, ...]) -> tuple[Row, ...]:
        """The rows with `values` in `columns`, in order."""
        if not columns:
            return self.rows
        if columns not in self._index:
            groups: dict[tuple[int, ...], list[Row]] = {}
            for row in self.rows:
                groups.setdefault(tuple([row.arguments[c] for c in columns]), []).append(row)
            self._index[columns] = {key: tuple(group) for key, group in groups.items()}
        return self._index[columns].get(values, ())


def read_table(types: list[str], rows: list[int]) -> Table:
    """A table in the form of a compiled game: its rows one after another, each with its arguments and its
    slot."""
    width = len(types) + 1
    return Table(
        tuple(Row(tuple(rows[i : i + width - 1]), rows[i + width - 1]) for i in range(0, len(rows), width))
    )


def answers(
    query: tuple[Predicate, ...], state: bytes, binding: Mapping[Placeholder, int]
) -> Iterator[Binding]:
    """Every binding that extends `binding` and makes all of `query` a fact of the text.

    Two placeholders never stand for the same variable.
    """
    bound = dict(binding)
    return _answers(query, 0, state, bound, set(bound.values()))


def holds(query: tuple[Predicate, ...], state: bytes, binding: Mapping[Placeholder, int]) -> bool:
    """Whether there is an answer."""
    return next(answers(query, state, binding), None) is not None


def _answers(
    query: tuple[Predicate, ...], depth: int, state: bytes, bound: Binding, used: set[int]
) -> Iterator[Binding]:
    if depth == len(query):
        yield dict(bound)
        return
    tables, placeholders, bit = query[depth]
    columns = tuple([c for c, p in enumerate(placeholders) if p in bound])
    values = tuple([bound[placeholders[c]] for c in columns])
    free = [(c, p) for c, p in enumerate(placeholders) if p not in bound]
    for table in tables:
        for arguments, slot in table.matching(columns, values):
            if not (bit == STATED if slot == ALWAYS else state[slot] & bit):
                continue
            if _bind(free, arguments, bound, used):
                yield from _answers(query, depth + 1, state, bound, used)
            for _, placeholder in free:
                used.discard(bound.pop(placeholder, ALWAYS))


def _bind(
    free: list[tuple[int, Placeholder]], arguments: tuple[int, ...], bound: Binding, used: set[int]
) -> bool:
    for column, placeholder in free:
        variable = arguments[column]
        if placeholder in bound:
            if bound[placeholder] != variable:
                return False
        elif variable in used:
            return False
        else:
            bound[placeholder] = variable
            used.add(variable)
    return True
