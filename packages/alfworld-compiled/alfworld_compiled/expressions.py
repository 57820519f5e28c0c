"""The small expression language of a grammar's `{...}`: `r.name or r.id`, `o.indefinite + ' ' + o.name`.

The stock engine passes these to `eval`. Here they are parsed into a tree of five kinds of node; everything
else is refused, and no code of a game file is ever executed.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from alfworld_compiled.refusal import UnsupportedGame

ATTRIBUTES = ("name", "id", "type", "definite", "indefinite")
"""The attributes that an expression may read; the others are never set in a PDDL game."""

_SHADOWED = ("self", "context", "value")
"""Names that are the stock engine's own variables, not the game's."""

_LONGEST = 2000

Expression = list[Any]
"""`["text", s]`, `["entity", variable]`, `["of", variable, attribute]`; `["join", e…]`, `["or", e…]` and
`["and", e…]` over others. They are lists, because they are stored like this in the cache."""


class Entity(NamedTuple):
    """A thing of the game, as its texts name it."""

    name: str
    id: str
    type: str
    definite: str = "the"
    indefinite: str = "a"


def read_expression(source: str) -> Expression:
    """Read an expression.

    Raises:
        UnsupportedGame: it is more than names, attributes, texts, `+`, `or` and `and`.
    """
    if len(source) > _LONGEST:
        raise UnsupportedGame(f"an expression of {len(source)} characters")
    try:
        tree = ast.parse(source.lstrip(" \t"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnsupportedGame(f"the expression {{{source}}}") from error
    return _read(tree.body, source)


def _read(node: ast.expr, source: str) -> Expression:
    match node:
        case ast.Constant(value=str(text)):
            return ["text", text]
        case ast.Name(id=name) if name not in _SHADOWED:
            return ["entity", name]
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if (
            attribute in ATTRIBUTES and name not in _SHADOWED
        ):
            return ["of", name, attribute]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = [_read(left, source), _read(right, source)]
            if all(_is_text(part) for part in parts):
                return ["join", *parts]
        case ast.BoolOp(op=operator, values=values):
            return ["or" if isinstance(operator, ast.Or) else "and", *(_read(v, source) for v in values)]
    raise UnsupportedGame(f"{type(node).__name__} in the expression {{{source}}}")


def _is_text(expression: Expression) -> bool:
    """Whether the value is always a text; `+` of an entity is an error in the stock engine."""
    if expression[0] in ("or", "and"):
        return all(_is_text(part) for part in expression[1:])
    return bool(expression[0] != "entity")


def variables_of(expression: Expression) -> set[str]:
    """The variables that have to be bound."""
    if expression[0] in ("entity", "of"):
        return {expression[1]}
    if expression[0] == "text":
        return set()
    return set().union(*(variables_of(part) for part in expression[1:]))


def evaluate(expression: Expression, bound: Mapping[str, Entity]) -> str:
    """The expression's text; for an entity alone, its name."""
    value = _value(expression, bound)
    return value.name if isinstance(value, Entity) else value


def _value(expression: Expression, bound: Mapping[str, Entity]) -> str | Entity:
    kind = expression[0]
    if kind == "of":
        return str(getattr(bound[expression[1]], expression[2]))
    if kind == "entity":
        return bound[expression[1]]
    if kind == "text":
        return str(expression[1])
    if kind == "join":
        return "".join(evaluate(part, bound) for part in expression[1:])
    return _choose(kind, expression[1:], bound)


def _choose(kind: str, parts: Sequence[Expression], bound: Mapping[str, Entity]) -> str | Entity:
    for part in parts[:-1]:
        value = _value(part, bound)
        if bool(value) == (kind == "or"):
            return value
    return _value(parts[-1], bound)
