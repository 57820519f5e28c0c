"""From a game file to a `Program`: ground it, name its objects, link its grammar, write its commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from alfworld_compiled import axioms
from alfworld_compiled.assembly import Command, assemble
from alfworld_compiled.games import GameError, GameFile
from alfworld_compiled.grammar import (
    INTRO,
    Grammar,
    check,
    queries_of,
    reached,
    read_grammar,
)
from alfworld_compiled.grounding import Grounded, Literal, Operator, ground
from alfworld_compiled.limits import collector_paused
from alfworld_compiled.link import Linker, first_changing
from alfworld_compiled.program import Lexicon, Program
from alfworld_compiled.queries import NEGATION, STATED, TRUE
from alfworld_compiled.refusal import UnsupportedGame
from alfworld_compiled.text import Texts, read_texts


def compile_game(game: GameFile) -> Program:
    """Compile a game without limits; `open_program` does it in a process with limits.

    Raises:
        UnsupportedGame: it has a construct whose text could be wrong.
        GameError: its PDDL or grammar is not well formed.
    """
    try:
        with collector_paused():
            return _Compiler(ground(game.domain, game.problem), read_grammar(game.grammar)).program()
    except UnsupportedGame as error:
        raise UnsupportedGame(error.construct, game.path) from error
    except GameError as error:
        raise GameError(f"{game.path}: {error}") from error


class _Compiler:
    def __init__(self, grounded: Grounded, grammar: Grammar) -> None:
        self._grounded = grounded
        self._grammar = grammar
        self._changing = {e.variable for o in grounded.operators for e in o.effects}
        self._truth = self._initial_truth()
        self._operators = [o for o in grounded.operators if self._possible(o.preconditions)]
        self._arities = {o.action: len(o.arguments) for o in self._operators}
        self._actions = sorted(self._arities)
        true = {atom for atom, holds in zip(grounded.atoms, self._truth, strict=True) if holds}
        self._stated = {*grounded.facts, *true}
        self._changing_predicates = {grounded.atoms[v].predicate for v in self._changing}
        self._check_names()
        self._entities: list[list[str]] = []
        self._variables: dict[tuple[str, str], int] = {}
        self._name_objects()

    def program(self) -> Program:
        rules = self._check_grammar()
        slots = self._number_slots(rules)
        grounded, atoms = self._grounded, self._grounded.atoms
        linker = Linker(
            grounded,
            self._variables,
            {atoms[v]: slot for v, slot in slots.items() if v in self._changing},
            self._stated,
        )
        lexicon = Lexicon(
            intro="",
            entities=self._entities,
            actions=[
                [a, [list(p) for p in self._parameters(a)], linker.nodes(self._grammar.replies[a])]
                for a in self._actions
            ],
            rules={name: linker.rules(choices) for name, choices in rules.items()},
            tables=linker.tables,
        )
        templates = {a: linker.nodes(self._grammar.templates[a]) for a in self._actions}
        initial = self._initial_state(slots)
        texts = read_texts(lexicon)
        mechanics = assemble(
            grounded, self._commands(texts, templates, initial), self._actions, slots, initial, self._fold
        )
        return Program(replace(lexicon, intro=texts.intro(initial)), mechanics)

    def _commands(self, texts: Texts, templates: dict[str, list[Any]], state: bytes) -> list[Command]:
        """Every possible command, sorted. It was checked that their words are the same in all states."""
        ready = {action: texts.read(nodes) for action, nodes in templates.items()}
        known: dict[tuple[str, tuple[str, ...]], str] = {}
        commands: dict[str, list[tuple[Operator, list[int]]]] = {}
        for operator in self._operators:
            variables = self._arguments(operator)
            key = (operator.action, operator.arguments)
            if key not in known:
                binding = dict(zip(self._parameters(operator.action), variables, strict=True))
                known[key] = texts.derive(ready[operator.action], state, texts.scope(binding))
            commands.setdefault(known[key], []).append((operator, variables))
        if braced := [c for c in commands if "{" in c or "}" in c]:
            raise UnsupportedGame(f"the command {braced[0]!r}, with braces in it")
        return [Command(text, operators) for text, operators in sorted(commands.items())]

    # Initial facts, and facts that can change.

    def _initial_truth(self) -> list[bool]:
        truth = list(self._grounded.initial)
        axioms.derive(axioms.by_layer(self._grounded), truth.__getitem__, truth.__setitem__)
        return truth

    def _fixed(self, variable: int) -> bool:
        return variable not in self._changing and self._grounded.layers[variable] == -1

    def _possible(self, literals: Sequence[Literal]) -> bool:
        return all(self._truth[v] == value for v, value in literals if self._fixed(v))

    def _fold(self, literals: Sequence[Literal]) -> list[Literal] | None:
        """`literals` without those that always hold; None if one never does."""
        if not self._possible(literals):
            return None
        return [(v, value) for v, value in literals if not self._fixed(v)]

    def _number_slots(self, rules: dict[str, Any]) -> dict[int, int]:
        """A slot for each variable that can change and that an action, the goal, an axiom or a text reads."""
        grounded = self._grounded
        read = {v for o in self._operators for v, _ in o.preconditions}
        read |= {v for o in self._operators for e in o.effects for v, _ in e.conditions}
        read |= {v for v, _ in grounded.goal}
        read |= {v for axiom in grounded.axioms for v, _ in axiom.conditions}
        nodes = [n for a in self._actions for n in self._grammar.replies[a]]
        asked = {
            name.removeprefix(NEGATION)
            for query in queries_of([["symbol", INTRO], *nodes], rules)
            for name, _ in query
        }
        wanted = [
            v
            for v, atom in enumerate(grounded.atoms)
            if grounded.layers[v] != -1 or (v in self._changing and (v in read or atom.predicate in asked))
        ]
        return {v: slot for slot, v in enumerate(wanted)}

    def _initial_state(self, slots: dict[int, int]) -> bytes:
        atoms = self._grounded.atoms
        return bytes(
            (TRUE if self._truth[v] else 0) | (STATED if atoms[v] in self._stated else 0) for v in slots
        )

    # Names.

    def _name_objects(self) -> None:
        """Number the objects, under their own type and under an action's; name them as alfworld does."""
        from alfworld.agents.utils.misc import Demangler
        from textworld.generator.game import EntityInfo

        mentioned = sorted({a for atom in self._stated for a in atom.arguments})
        infos = {name: EntityInfo(name, self._grounded.objects[name]) for name in mentioned}
        demangler = Demangler(game_infos=infos)
        keys = [(name, self._grounded.objects[name]) for name in mentioned]
        for operator in self._operators:
            for name, (_, type_) in zip(operator.arguments, self._parameters(operator.action), strict=True):
                if name not in infos:
                    raise UnsupportedGame(f"the object {name!r}, of which no fact is stated")
                keys.append((name, type_))
        for atom in self._grounded.atoms:
            if missing := [name for name in atom.arguments if name not in infos]:
                raise UnsupportedGame(f"the object {missing[0]!r}, of which no fact is stated")
        for name, type_ in keys:
            if (name, type_) not in self._variables:
                self._variables[name, type_] = len(self._entities)
                shown = demangler.demangle_alfred_name(name)
                self._entities.append([shown, name, self._grounded.objects[name]])

    def _parameters(self, action: str) -> tuple[tuple[str, str], ...]:
        """The parameters that a command's arguments are for; quantifiers' come after them."""
        return self._grounded.parameters[action][: self._arities[action]]

    def _arguments(self, operator: Operator) -> list[int]:
        parameters = self._parameters(operator.action)
        return [self._variables[a, t] for a, (_, t) in zip(operator.arguments, parameters, strict=True)]

    def _check_names(self) -> None:
        for atom in self._stated | {*self._grounded.atoms}:
            if atom.predicate.startswith(NEGATION):
                raise UnsupportedGame(f"the predicate {atom.predicate!r}, whose name reads as a negation")

    # The grammar.

    def _check_grammar(self) -> dict[str, Any]:
        """Check the texts of the intro and the actions; returns the rules that they use."""
        grammar = self._grammar
        nodes: list[Any] = [["symbol", INTRO]]
        check(nodes, frozenset(), grammar.rules)
        for action in self._actions:
            if action not in grammar.templates:
                raise UnsupportedGame(f"the action {action!r}, for which its grammar has no text")
            template, reply = grammar.templates[action], grammar.replies[action]
            bound = frozenset(name for name, _ in self._parameters(action))
            check(template, bound, grammar.rules)
            check(reply, bound, grammar.rules)
            changing = first_changing(queries_of(template, grammar.rules), self._changing_predicates)
            if changing:
                raise UnsupportedGame(f"a command of {action!r} whose words depend on {changing!r}")
            nodes += [*template, *reply]
        return reached(nodes, grammar.rules)
