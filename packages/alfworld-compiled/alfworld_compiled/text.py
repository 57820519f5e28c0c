"""Deriving a game's texts from its grammar in a state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from alfworld_compiled.expressions import Entity, Expression, evaluate
from alfworld_compiled.games import GameError
from alfworld_compiled.grammar import INTRO
from alfworld_compiled.program import Lexicon
from alfworld_compiled.queries import (
    Binding,
    Predicate,
    Table,
    answers,
    holds,
    read_table,
)

_MAX_PIECES = 100_000

Query = tuple[Predicate, ...]


class Symbol(NamedTuple):
    """`#name#`: expands to the first of its rules whose condition holds."""

    name: str


class Value(NamedTuple):
    """`{expression}`."""

    expression: Expression


class Slot(NamedTuple):
    """`{body | query}`: the body once for every answer; `[{…}]`: the same as a list in prose."""

    body: Symbol | Value
    query: Query | None
    listed: bool


Node = str | Symbol | Slot
Rules = dict[str, tuple[tuple[Query | None, tuple[Node, ...]], ...]]


class Scope(NamedTuple):
    """The bindings for deriving a node: variables for queries, entities by name for expressions."""

    binding: Binding
    entities: dict[str, Entity]


def read_texts(lexicon: Lexicon) -> Texts:
    """The texts of a compiled game, ready to be derived."""
    tables = [read_table(types, rows) for _, types, rows in lexicon.tables]
    rules = {
        name: tuple(
            (_read_query(condition, tables), _read_nodes(body, tables)) for condition, body in choices
        )
        for name, choices in lexicon.rules.items()
    }
    return Texts(rules, tables, [Entity(name, id_, type_) for name, id_, type_ in lexicon.entities])


def _read_nodes(nodes: Iterable[list[Any]], tables: Sequence[Table]) -> tuple[Node, ...]:
    return tuple(_read_node(node, tables) for node in nodes)


def _read_node(node: list[Any], tables: Sequence[Table]) -> Node:
    kind, content = node[0], node[1]
    if kind == "text":
        return str(content)
    if kind == "symbol":
        return Symbol(content)
    body = Symbol(content[1]) if content[0] == "symbol" else Value(content[1])
    return Slot(body, _read_query(node[2], tables), node[3])


def _read_query(query: list[Any] | None, tables: Sequence[Table]) -> Query | None:
    if query is None:
        return None
    return tuple(
        Predicate(
            tuple(tables[n] for n in numbers), tuple((name, type_) for name, type_ in placeholders), bit
        )
        for numbers, placeholders, bit in query
    )


@dataclass(frozen=True, slots=True)
class Texts:
    """The grammar of a game, and the entity of each variable."""

    rules: Rules
    tables: Sequence[Table]
    entity_of: Sequence[Entity]

    def read(self, nodes: Iterable[list[Any]]) -> tuple[Node, ...]:
        """The nodes of a compiled game (see `grammar` and `link`), ready to be derived."""
        return _read_nodes(nodes, self.tables)

    def intro(self, state: bytes) -> str:
        """The first observation of an episode."""
        return self.derive([Symbol(INTRO)], state, Scope({}, {}))

    def derive(self, nodes: Iterable[Node], state: bytes, scope: Scope) -> str:
        """The text of `nodes` in `state`.

        Raises:
            GameError: it is longer than any game's text should be.
        """
        pieces: list[str] = []
        self._derive(nodes, state, scope, pieces)
        return "".join(pieces)

    def scope(self, binding: Binding) -> Scope:
        """The scope of an action: only its parameters."""
        return Scope(binding, {name: self.entity_of[v] for (name, _), v in binding.items()})

    def _derive(self, nodes: Iterable[Node], state: bytes, scope: Scope, pieces: list[str]) -> None:
        for node in nodes:
            if type(node) is str:
                pieces.append(node)
            elif type(node) is Slot:
                self._slot(node, state, scope, pieces)
            elif type(node) is Symbol:
                self._symbol(node.name, state, scope, pieces)
        if len(pieces) > _MAX_PIECES:
            raise GameError(f"the game's grammar gives a text of more than {_MAX_PIECES} pieces")

    def _symbol(self, name: str, state: bytes, scope: Scope, pieces: list[str]) -> None:
        for condition, body in self.rules[name]:
            if condition is None or holds(condition, state, scope.binding):
                self._derive(body, state, scope, pieces)
                return

    def _slot(self, slot: Slot, state: bytes, scope: Scope, pieces: list[str]) -> None:
        if slot.query is None:
            self._body(slot.body, state, scope, pieces)
            return
        found = islice(answers(slot.query, state, scope.binding), _MAX_PIECES + 1)
        scopes = [self._extended(scope, binding) for binding in found]
        if len(scopes) + len(pieces) > _MAX_PIECES:
            raise GameError(f"the game's grammar gives a text of more than {_MAX_PIECES} pieces")
        if not slot.listed:
            for inner in scopes:
                self._body(slot.body, state, inner, pieces)
            return
        if not scopes:
            self._symbol("list_empty", state, scope, pieces)
        for index, inner in enumerate(scopes):
            if index:
                last = index == len(scopes) - 1
                self._symbol("list_last_separator" if last else "list_separator", state, scope, pieces)
            self._body(slot.body, state, inner, pieces)

    def _body(self, body: Symbol | Value, state: bytes, scope: Scope, pieces: list[str]) -> None:
        if type(body) is Symbol:
            self._symbol(body.name, state, scope, pieces)
        elif type(body) is Value:
            pieces.append(evaluate(body.expression, scope.entities))

    def _extended(self, scope: Scope, binding: Binding) -> Scope:
        named = {name: self.entity_of[v] for (name, _), v in binding.items()}
        return Scope(binding, {**scope.entities, **named})
