"""Derived variables: layer by layer to a fixpoint, negation as failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from alfworld_compiled.grounding import Axiom, Grounded

Rule = tuple[int, bool, Sequence[tuple[int, bool]]]
"""Variable, value, conditions."""


def by_layer(grounded: Grounded) -> list[list[Axiom]]:
    """The axioms in the order in which their layers are computed; those that only repeat a default are left
    out."""
    layers: dict[int, list[Axiom]] = {}
    for axiom in grounded.axioms:
        if axiom.value != grounded.initial[axiom.variable]:
            layers.setdefault(grounded.layers[axiom.variable], []).append(axiom)
    return [layers[layer] for layer in sorted(layers)]


def derive(
    layers: Iterable[Sequence[Rule]], get: Callable[[int], bool], put: Callable[[int, bool], None]
) -> None:
    """Apply each layer's rules until nothing changes. The derived variables have to be at their defaults."""
    for rules in layers:
        changed = True
        while changed:
            changed = False
            for variable, value, conditions in rules:
                if get(variable) != value and all(get(v) == wanted for v, wanted in conditions):
                    put(variable, value)
                    changed = True
