"""Grounding: a game's PDDL as variables, operators and axioms over small integers.

The library does the work (`fast_downward.pddl2sas`, with textworld's options); this module reads its output.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from alfworld_compiled.games import GameError
from alfworld_compiled.refusal import UnsupportedGame
from alfworld_compiled.translator import translator

Literal = tuple[int, bool]
"""A variable, and whether it has to be true."""

MAX_OPERATORS = 200_000
MAX_VARIABLES = 200_000
_LONGEST_NAME = 1023


class Atom(NamedTuple):
    """A ground fact."""

    predicate: str
    arguments: tuple[str, ...]


class Effect(NamedTuple):
    """`variable` becomes `value` if all of `conditions` hold in the state before."""

    variable: int
    value: bool
    conditions: tuple[Literal, ...]


class Operator(NamedTuple):
    """A ground action. `effects` are in the library's order, which matters."""

    action: str
    arguments: tuple[str, ...]
    preconditions: tuple[Literal, ...]
    effects: tuple[Effect, ...]


class Axiom(NamedTuple):
    """`variable` is derived to be `value` if all of `conditions` hold."""

    variable: int
    value: bool
    conditions: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Grounded:
    """A planning task. Variables are binary, `atoms[v]` is the atom of v, `layers[v]` is -1 unless v is
    derived.

    `operators` are in the order in which the library lists the applicable ones. `facts` is the initial state
    for the texts, with the facts that never change. `types` maps a type to its supertypes, in order.
    """

    atoms: tuple[Atom, ...]
    layers: tuple[int, ...]
    initial: tuple[bool, ...]
    goal: tuple[Literal, ...]
    operators: tuple[Operator, ...]
    axioms: tuple[Axiom, ...]
    facts: frozenset[Atom]
    objects: dict[str, str]
    types: tuple[tuple[str, tuple[str, ...]], ...]
    parameters: dict[str, tuple[tuple[str, str], ...]]


def ground(domain: str, problem: str) -> Grounded:
    """Ground a game.

    Raises:
        GameError: the library cannot translate it.
        UnsupportedGame: it uses a construct that the compiled engine does not support.
    """
    import fast_downward

    with translator():
        try:
            task, sas = fast_downward.pddl2sas(domain, problem)
        except RecursionError as error:
            raise UnsupportedGame("PDDL nested this deeply") from error
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:
            raise GameError(f"its PDDL cannot be translated ({type(error).__name__}: {error})") from error
    return _Reader(sas).read(task)


class _Reader:
    """Reads the translator's output format, version 3."""

    def __init__(self, sas: str) -> None:
        self._lines = iter(sas.split("\n"))

    def read(self, task: Any) -> Grounded:
        self._seek("begin_metric")
        self._seek("end_metric")
        variables = [self._variable() for _ in range(self._count(MAX_VARIABLES, "variables"))]
        self._seek("begin_state")
        # The translator lists the atom before its negation, so value 0 is "true".
        initial = tuple(next(self._lines) == "0" for _ in variables)
        self._seek("begin_goal")
        goal = tuple(self._pairs(int(next(self._lines))))
        self._seek("end_goal")
        operators = [self._operator() for _ in range(self._count(MAX_OPERATORS, "operators"))]
        axioms = tuple(self._axiom() for _ in range(self._count(MAX_OPERATORS, "axioms")))
        operators.sort(key=lambda o: sorted((v, not value) for v, value in o.preconditions))
        return Grounded(
            atoms=tuple(atom for atom, _ in variables),
            layers=tuple(layer for _, layer in variables),
            initial=initial,
            goal=goal,
            operators=tuple(operators),
            axioms=axioms,
            facts=frozenset(_initial_facts(task)),
            objects={o.name: o.type_name for o in task.objects},
            types=tuple((t.name, tuple(t.supertype_names)) for t in task.types),
            parameters={a.name: _parameters(a) for a in task.actions},
        )

    def _seek(self, line: str) -> None:
        for found in self._lines:
            if found == line:
                return
        raise GameError(f"the translator's output has no {line!r}")

    def _count(self, limit: int, what: str) -> int:
        count = int(next(self._lines))
        if count > limit:
            raise UnsupportedGame(f"{count} {what} (at most {limit})")
        return count

    def _variable(self) -> tuple[Atom, int]:
        self._seek("begin_variable")
        next(self._lines)
        layer, values = int(next(self._lines)), int(next(self._lines))
        names = [next(self._lines) for _ in range(values)]
        self._seek("end_variable")
        if values != 2 or not names[0].startswith("Atom ") or not names[1].startswith("NegatedAtom "):
            raise UnsupportedGame(f"a variable of {values} values ({', '.join(names)})")
        predicate, _, arguments = names[0].removeprefix("Atom ").partition("(")
        return Atom(predicate, tuple(a for a in arguments[:-1].split(", ") if a)), layer

    def _operator(self) -> Operator:
        self._seek("begin_operator")
        name = next(self._lines)
        if len(name) > _LONGEST_NAME or not name.isascii():
            raise UnsupportedGame(
                f"an action's name beyond ASCII or {_LONGEST_NAME} characters: {name[:80]!r}"
            )
        action, *arguments = name.split()
        preconditions = list(self._pairs(int(next(self._lines))))
        effects = []
        for _ in range(int(next(self._lines))):
            numbers = [int(n) for n in next(self._lines).split()]
            conditions = tuple((v, x == 0) for v, x in zip(numbers[1:-3:2], numbers[2:-3:2], strict=True))
            variable, before, after = numbers[-3:]
            if before != -1 and (variable, before == 0) not in preconditions:
                preconditions.append((variable, before == 0))
            effects.append(Effect(variable, after == 0, conditions))
        self._seek("end_operator")
        return Operator(action, tuple(arguments), tuple(preconditions), tuple(effects))

    def _axiom(self) -> Axiom:
        self._seek("begin_rule")
        conditions = tuple(self._pairs(int(next(self._lines))))
        variable, _, after = (int(n) for n in next(self._lines).split())
        self._seek("end_rule")
        return Axiom(variable, after == 0, conditions)

    def _pairs(self, count: int) -> Iterator[Literal]:
        for _ in range(count):
            variable, value = next(self._lines).split()
            yield int(variable), value == "0"


def _initial_facts(task: Any) -> Iterator[Atom]:
    """The facts of textworld's initial state, read in the same way as textworld."""
    from fast_downward.translate.pddl import conditions, f_expression

    for fact in task.init:
        if isinstance(fact, conditions.Atom):
            if fact.predicate != "=":
                yield Atom(fact.predicate, tuple(fact.args))
        elif isinstance(fact, f_expression.Assign) and fact.fluent.symbol != "total-cost":
            name = str(fact.expression.value)
            if not name.isdigit():
                yield Atom(name, tuple(fact.fluent.args))


def _parameters(action: Any) -> tuple[tuple[str, str], ...]:
    return tuple((p.name.strip("?"), p.type_name) for p in action.parameters)
