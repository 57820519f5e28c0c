"""A game's grammar: its actions' templates and replies, and the rules that their symbols expand to.

textworld's own parsers read the text, so the result drops and keeps the same parts; they execute no code.
The result is plain lists, as they are stored in the cache:

- a node is `["text", s]`, `["symbol", name]`, or `["slot", body, query, listed]`, where `body` is a symbol
  node or `["value", expression]`, `query` is a query or None, and `listed` says that the results are listed
  in prose;
- a query is a list of predicates `[name, [[placeholder, type], …]]`, all of which have to hold;
- a rule is `[condition, nodes]`, the condition a query or None.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from alfworld_compiled.expressions import read_expression, variables_of
from alfworld_compiled.games import GameError
from alfworld_compiled.refusal import UnsupportedGame
from alfworld_compiled.translator import translator

Node = list[Any]
Query = list[Any]
Rule = list[Any]

INTRO = "intro"
LIST_SYMBOLS = ("list_empty", "list_separator", "list_last_separator")

_MAX_DEPTH = 40
_MAX_NODES = 20_000
_REMEMBERED = 2048
"""Parsed texts and queries: the games of a data set share nearly all of them."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """`templates` and `replies` are by action, in lower case; `rules` by symbol."""

    templates: dict[str, list[Node]]
    replies: dict[str, list[Node]]
    rules: dict[str, list[Rule]]


def read_grammar(text: str) -> Grammar:
    """Read the `grammar` of a game file. Expressions and queries are parsed only if their symbol is used.

    Raises:
        GameError: textworld's parser does not accept it.
    """
    from textworld.envs.pddl import logic

    with translator():
        try:
            document = logic._PARSER.parse(text, rule_name="pddlStart")
            actions, rules = _parts(document, logic._ModelConverter())
            templates = {name: _nodes(action.template) for name, action in actions.items()}
            replies = {name: _nodes(action.feedback_rule) for name, action in actions.items()}
            nodes = [
                ["symbol", INTRO],
                *(n for each in (*templates.values(), *replies.values()) for n in each),
            ]
            return Grammar(templates, replies, _reached_rules(nodes, rules))
        except GameError:
            raise
        except RecursionError as error:
            raise UnsupportedGame("a grammar nested this deeply") from error
        except Exception as error:
            raise GameError(f"its grammar cannot be read ({type(error).__name__}: {error})") from error


def _parts(document: Any, converter: Any) -> tuple[dict[str, Any], dict[str, list[dict[str, str]]]]:
    """The actions, and the rules of all `grammar` blocks; if a symbol is given twice, the later one."""
    actions: dict[str, Any] = {}
    rules: dict[str, list[dict[str, str]]] = {}
    for part in document.parts:
        if type(part).__name__ == "ActionTypeNode":
            action = converter.walk(part)
            actions[action.name.lower()] = action
            lines = (line for line in action.grammar.split("\n") if not line.lstrip().startswith("#"))
            rules.update(json.loads("\n".join(lines)))
        else:
            rules.update(json.loads(converter._unescape_block(part.code)))
    return actions, rules


def _reached_rules(nodes: list[Node], parsed: dict[str, list[dict[str, str]]]) -> dict[str, list[Rule]]:
    rules: dict[str, list[Rule]] = {}
    pending = list(_symbols(nodes))
    while pending:
        name = pending.pop()
        if name not in rules:
            rules[name] = [
                [_query(rule["condition"]) if rule.get("condition") else None, _nodes(rule["rhs"])]
                for rule in parsed.get(name, ())
            ]
            pending.extend(_symbols([n for _, body in rules[name] for n in body]))
    return rules


@lru_cache(_REMEMBERED)
def _nodes(source: str) -> list[Node]:
    from textworld.envs.pddl import textgen

    return [_node(symbol) for symbol in textgen._parse_and_convert(source, rule_name="symbols")]


def _node(symbol: Any) -> Node:
    kind = type(symbol).__name__
    if kind == "TerminalSymbol":
        return ["text", str(symbol.symbol)]
    if kind == "NonterminalSymbol":
        return ["symbol", str(symbol.symbol)]
    listed = kind == "ListSymbol"
    slot = symbol.symbol if listed else symbol
    if type(slot).__name__ != "ConditionalSymbol":
        raise UnsupportedGame(f"the grammar's {type(slot).__name__}")
    inner = slot.expression
    if type(inner).__name__ == "EvalSymbol":
        body = ["value", read_expression(str(inner.expression))]
    else:
        body = ["symbol", str(inner.symbol)]
    return ["slot", body, _query(slot.given) if slot.given else None, listed]


@lru_cache(_REMEMBERED)
def _query(source: str) -> Query:
    from textworld.logic import Rule as LogicRule

    try:
        rule = LogicRule.parse_conjunctive_query(source)
    except Exception as error:
        raise UnsupportedGame(f"the query {source!r} ({error})") from error
    return [[p.name, [[ph.name, ph.type] for ph in p.parameters]] for p in rule.preconditions]


def _symbols(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        if node[0] == "symbol":
            yield node[1]
        elif node[0] == "slot":
            yield from _symbols([node[1]])
            if node[3]:
                yield from LIST_SYMBOLS


def reached(nodes: Iterable[Node], rules: dict[str, list[Rule]]) -> dict[str, list[Rule]]:
    """The rules of every symbol that deriving `nodes` may reach."""
    found: dict[str, list[Rule]] = {}
    pending = list(_symbols(nodes))
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = rules.get(name, [])
            pending.extend(_symbols([n for _, body in found[name] for n in body]))
    return found


def queries_of(nodes: Iterable[Node], rules: dict[str, list[Rule]]) -> Iterator[Query]:
    """Every query that deriving `nodes` may use."""
    nodes = list(nodes)
    for condition, body in [(None, nodes), *(r for rs in reached(nodes, rules).values() for r in rs)]:
        if condition is not None:
            yield condition
        yield from (node[2] for node in body if node[0] == "slot" and node[2] is not None)


def check(nodes: Iterable[Node], bound: frozenset[str], rules: dict[str, list[Rule]]) -> None:
    """Check that `nodes` can always be derived, within limits, if the variables `bound` are bound.

    Raises:
        UnsupportedGame: a symbol has no rule that always applies, or expands to itself or to too many parts;
            an expression names a variable that nothing binds.
    """
    _Check(rules).nodes(nodes, bound, ())


class _Extent(NamedTuple):
    """The number of parts of an expansion, and the depth of its symbols."""

    parts: int
    depth: int


class _Check:
    def __init__(self, rules: dict[str, list[Rule]]) -> None:
        self._rules = rules
        self._known: dict[tuple[str, frozenset[str]], _Extent] = {}

    def nodes(self, nodes: Iterable[Node], bound: frozenset[str], path: tuple[str, ...]) -> _Extent:
        parts = depth = 0
        for node in nodes:
            extent = self._node(node, bound, path)
            parts, depth = parts + extent.parts, max(depth, extent.depth)
            if parts > _MAX_NODES:
                raise UnsupportedGame(f"a grammar that expands to more than {_MAX_NODES} parts")
        return _Extent(parts, depth)

    def _node(self, node: Node, bound: frozenset[str], path: tuple[str, ...]) -> _Extent:
        if node[0] == "symbol":
            return self._symbol(node[1], bound, path)
        if node[0] == "value":
            if missing := variables_of(node[1]) - bound:
                raise UnsupportedGame(f"an expression over {', '.join(sorted(missing))}, which nothing binds")
        elif node[0] == "slot":
            _, body, query, listed = node
            named = frozenset(ph for _, placeholders in query or () for ph, _ in placeholders)
            inner = [self._node(body, bound | named, path)]
            inner += [self._symbol(name, bound, path) for name in LIST_SYMBOLS] if listed else []
            return _Extent(1 + sum(e.parts for e in inner), max(e.depth for e in inner))
        return _Extent(1, 0)

    def _symbol(self, name: str, bound: frozenset[str], path: tuple[str, ...]) -> _Extent:
        if name in path or len(path) > _MAX_DEPTH:
            raise UnsupportedGame(f"the symbol #{name}#, which expands to itself or nests too deep")
        key = (name, bound)
        if key not in self._known:
            rules = self._rules.get(name)
            if not rules or all(condition is not None for condition, _ in rules):
                raise UnsupportedGame(f"the symbol #{name}#, none of whose rules always applies")
            extents = [self.nodes(body, bound, (*path, name)) for _, body in rules]
            self._known[key] = _Extent(1 + max(e.parts for e in extents), 1 + max(e.depth for e in extents))
            if self._known[key].depth > _MAX_DEPTH:
                raise UnsupportedGame(f"the symbol #{name}#, which nests more than {_MAX_DEPTH} deep")
        return self._known[key]
