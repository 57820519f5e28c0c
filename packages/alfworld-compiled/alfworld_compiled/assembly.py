"""Numbering a game's operators into flat arrays."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from alfworld_compiled import axioms
from alfworld_compiled.grounding import Effect, Grounded, Literal, Operator
from alfworld_compiled.program import Mechanics
from alfworld_compiled.refusal import UnsupportedGame

Fold = Callable[[Sequence[Literal]], "list[Literal] | None"]
"""Literals without those that always hold; None if one never does."""


class Command(NamedTuple):
    """A command, and its operators with the variables that are their arguments."""

    text: str
    operators: list[tuple[Operator, list[int]]]


class Ragged:
    """Lists of numbers, one after another in one array."""

    def __init__(self) -> None:
        self.values = array("i")
        self.starts = array("i", [0])

    def append(self, values: Iterable[int]) -> None:
        self.values.extend(values)
        self.starts.append(len(self.values))


def assemble(
    grounded: Grounded,
    commands: Sequence[Command],
    actions: Sequence[str],
    slots: Mapping[int, int],
    initial: bytes,
    fold: Fold,
) -> Mechanics:
    """The mechanics of a game whose variables have `slots` and whose `commands` are in order.

    Raises:
        UnsupportedGame: its goal cannot hold in any state.
    """

    def literal(variable: int, value: bool) -> int:
        return slots[variable] << 1 | value

    def literals(conditions: Sequence[Literal]) -> list[int] | None:
        folded = fold(conditions)
        return None if folded is None else [literal(v, value) for v, value in folded]

    goal = literals(grounded.goal)
    if goal is None:
        raise UnsupportedGame("a goal that can never hold")
    numbered = [entry for command in commands for entry in command.operators]
    preconditions, effects, arguments = Ragged(), Ragged(), Ragged()
    conditional: dict[str, list[list[Any]]] = {}
    for number, (operator, variables) in enumerate(numbered):
        preconditions.append(literals(operator.preconditions) or ())
        arguments.append(variables)
        kept = [e for e in operator.effects if e.variable in slots]
        if any(e.conditions for e in kept):
            conditional[str(number)] = [_conditional(e, literals, literal) for e in kept]
            kept = []
        effects.append(literal(e.variable, e.value) for e in kept)
    starts = array("i", [0])
    for command in commands:
        starts.append(starts[-1] + len(command.operators))
    number_of = {action: number for number, action in enumerate(actions)}
    pivots, pivot_starts = _pivots(preconditions, len(slots))
    return Mechanics(
        initial=initial,
        goal=goal,
        commands=[command.text for command in commands],
        conditional=conditional,
        axioms=[
            [
                [slots[a.variable], a.value, conditions]
                for a in layer
                if (conditions := literals(a.conditions)) is not None
            ]
            for layer in axioms.by_layer(grounded)
        ],
        defaults=[literal(v, grounded.initial[v]) for v in slots if grounded.layers[v] != -1],
        operator_starts=starts,
        operator_actions=array("i", [number_of[o.action] for o, _ in numbered]),
        arguments=arguments.values,
        argument_starts=arguments.starts,
        preconditions=preconditions.values,
        precondition_starts=preconditions.starts,
        effects=effects.values,
        effect_starts=effects.starts,
        pivots=pivots,
        pivot_starts=pivot_starts,
    )


def _conditional(
    effect: Effect,
    literals: Callable[[Sequence[Literal]], list[int] | None],
    literal: Callable[[int, bool], int],
) -> list[Any]:
    """An effect as `[literal, conditions]`; None for the conditions where they never hold."""
    return [literal(effect.variable, effect.value), literals(effect.conditions)]


def _pivots(preconditions: Ragged, slots: int) -> tuple[array[int], array[int]]:
    """Group the operators by the slot wanted true that most operators share with them.

    In a state few of those slots are true (the agent is in one place), so few groups have to be checked.
    """
    wanted = [
        [p >> 1 for p in preconditions.values[start:end] if p & 1]
        for start, end in zip(preconditions.starts, preconditions.starts[1:], strict=False)
    ]
    shared = Counter(slot for each in wanted for slot in each)
    keys = [max(each, key=lambda slot: (shared[slot], slot), default=slots) for each in wanted]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ordered = [keys[number] for number in order]
    starts = array("i", [0, *(bisect_right(ordered, slot) for slot in range(slots + 1))])
    return array("i", order), starts
