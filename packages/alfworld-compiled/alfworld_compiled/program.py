"""The compiled form of a game: everything that playing it needs, as plain data."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The texts of a game. See `grammar` and `link` for how nodes and queries are written."""

    intro: str
    entities: list[list[str]]
    """Name, id and type of the object that each variable stands for."""

    actions: list[list[Any]]
    """Name, parameters `[[name, type], …]`, and the nodes of the reply."""

    rules: dict[str, list[Any]]
    """Rules by symbol."""

    tables: list[list[Any]]
    """Predicate, types, and its rows one after another: the arguments' variables, then the slot."""


@dataclass(frozen=True, slots=True)
class Mechanics:
    """The rules of a game over its state, of which a *slot* is a byte; a *literal* is `slot << 1 | value`.

    Operators are numbered so that those of a command are consecutive, in the order in which the stock
    engine chooses the first applicable one. `x_starts` holds offsets: the part of `x` for item i is from
    `x_starts[i]` to `x_starts[i + 1]`.
    """

    initial: bytes
    goal: list[int]
    commands: list[str]
    """Sorted, without duplicates."""

    conditional: dict[str, list[list[Any]]]
    """For each operator with conditional effects: all its effects `[literal, condition literals]`, in
    order."""

    axioms: list[list[list[Any]]]
    """By layer: `[slot, value, condition literals]`."""

    defaults: list[int]
    """The derived slots before the axioms are applied, as literals."""

    operator_starts: array[int]
    """The operators of each command."""

    operator_actions: array[int]
    arguments: array[int]
    argument_starts: array[int]
    preconditions: array[int]
    precondition_starts: array[int]
    effects: array[int]
    effect_starts: array[int]

    pivots: array[int]
    """Operators by one slot that each needs to be true, in the order of the slots; at the end, those that
    need none."""

    pivot_starts: array[int]


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled game."""

    lexicon: Lexicon
    mechanics: Mechanics
