"""Playing a compiled game: a state is an immutable value, and a step returns a new state."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import partial
from pathlib import Path
from typing import Any, Self

from alfworld_compiled import axioms
from alfworld_compiled.cache import default_cache
from alfworld_compiled.compiling import open_program
from alfworld_compiled.episode import REFUSAL
from alfworld_compiled.program import Program
from alfworld_compiled.queries import DENIED, STATED, TRUE
from alfworld_compiled.text import Scope, read_texts

State = bytes
"""One byte for each fact that can change. Equal states are equal bytes."""

_SET = (DENIED, TRUE | STATED)
"""A fact after an action made it false, or true."""


class CompiledGame:
    """A game that plays with exactly the texts of textworld's PDDL engine.

    It has no state, and any number of episodes and threads may share it::

        game = CompiledGame.load("json_2.1.1/valid_seen/…/game.tw-pddl")
        state, observation = game.step(game.initial, "go to desk 1")
    """

    @classmethod
    def load(cls, path: str | Path, cache: str | Path | None = None) -> Self:
        """The game at `path`, compiled now or before. Compiled games are kept in the folder `cache`.

        Its default is `$ALFWORLD_COMPILED_CACHE`, else `~/.cache/alfworld-compiled`.

        Raises:
            UnsupportedGame: it has a construct that the engine does not support.
            GameError: it is missing or malformed.
        """
        return cls(open_program(Path(path), Path(cache) if cache else default_cache()))

    def __init__(self, program: Program) -> None:
        lexicon, self._mechanics = program.lexicon, program.mechanics
        self._texts = read_texts(lexicon)
        self._replies = [
            (tuple((name, type_) for name, type_ in parameters), self._texts.read(nodes))
            for _, parameters, nodes in lexicon.actions
        ]
        self._axioms = [
            [(slot, value, [(c >> 1, bool(c & 1)) for c in conditions]) for slot, value, conditions in layer]
            for layer in self._mechanics.axioms
        ]
        self._derived_from = {slot for layer in self._axioms for _, _, cs in layer for slot, _ in cs}
        self.intro = lexicon.intro
        self.initial: State = self._mechanics.initial

    def start(self) -> CompiledEpisode:
        """An episode at the game's start."""
        return CompiledEpisode(self)

    def step(self, state: State, command: str) -> tuple[State, str]:
        """The state after `command`, and the engine's answer.

        Commands are matched exactly, except for white space around them. If a command is not understood or
        not possible, the state does not change and the answer is `REFUSAL`.
        """
        operator = self._applicable(state, command.strip())
        if operator is None:
            return state, REFUSAL
        after = self._apply(state, operator)
        m = self._mechanics
        parameters, nodes = self._replies[m.operator_actions[operator]]
        start, end = m.argument_starts[operator], m.argument_starts[operator + 1]
        scope: Scope = self._texts.scope(dict(zip(parameters, m.arguments[start:end], strict=True)))
        return after, self._texts.derive(nodes, after, scope)

    def won(self, state: State) -> bool:
        """Whether the goal holds in `state`."""
        return all(state[g >> 1] & TRUE == g & 1 for g in self._mechanics.goal)

    def admissible(self, state: State) -> list[str]:
        """The commands that can be executed in `state`, sorted."""
        m = self._mechanics
        pivots, starts, operators = m.pivots, m.pivot_starts, m.operator_starts
        found = set[int]()
        for slot in [*(s for s, value in enumerate(state) if value & TRUE), len(state)]:
            found.update(o for o in pivots[starts[slot] : starts[slot + 1]] if self._holds(state, o))
        return [m.commands[c] for c in sorted({_range_of(operators, o) for o in found})]

    def _applicable(self, state: State, command: str) -> int | None:
        """The operator that the stock engine would use for `command`, if there is one."""
        m = self._mechanics
        number = bisect_left(m.commands, command)
        if number == len(m.commands) or m.commands[number] != command:
            return None
        operators = range(m.operator_starts[number], m.operator_starts[number + 1])
        return next((o for o in operators if self._holds(state, o)), None)

    def _holds(self, state: State, operator: int) -> bool:
        m = self._mechanics
        start, end = m.precondition_starts[operator], m.precondition_starts[operator + 1]
        return all(state[p >> 1] & TRUE == p & 1 for p in m.preconditions[start:end])

    def _apply(self, state: State, operator: int) -> State:
        m = self._mechanics
        after = bytearray(state)
        start, end = m.effect_starts[operator], m.effect_starts[operator + 1]
        effects = m.effects[start:end]
        for effect in effects:
            after[effect >> 1] = _SET[effect & 1]
        conditional = m.conditional.get(str(operator))
        if conditional is not None:
            self._apply_conditional(state, after, conditional)
        if self._axioms and (conditional or any(e >> 1 in self._derived_from for e in effects)):
            for default in m.defaults:
                after[default >> 1] = after[default >> 1] & ~TRUE | default & 1
            axioms.derive(self._axioms, lambda slot: bool(after[slot] & TRUE), partial(_put, after))
        return bytes(after)

    def _apply_conditional(self, before: State, after: bytearray, effects: list[list[Any]]) -> None:
        """Effects fire by the state before; textworld's facts are changed as if all effects had fired."""
        for literal, conditions in effects:
            slot, value = literal >> 1, literal & 1
            fires = conditions is not None and all(before[c >> 1] & TRUE == c & 1 for c in conditions)
            after[slot] = _SET[value] if fires else after[slot] & TRUE | _SET[value] & ~TRUE


class CompiledEpisode:
    """See `Episode`. Everything except the state is shared, so a fork costs a microsecond."""

    __slots__ = ("_game", "_state", "intro")

    def __init__(self, game: CompiledGame, state: State | None = None) -> None:
        """Play `game` from its start, or from `state`."""
        self._game = game
        self._state = game.initial if state is None else state
        self.intro = game.intro

    @property
    def state(self) -> State:
        """The episode's state: a value to compare, to store, and to start another episode from."""
        return self._state

    def step(self, command: str) -> str:
        self._state, observation = self._game.step(self._state, command)
        return observation

    def won(self) -> bool:
        return self._game.won(self._state)

    def admissible(self) -> list[str]:
        return self._game.admissible(self._state)

    def fork(self) -> Self:
        return type(self)(self._game, self._state)

    def close(self) -> None:
        pass


def _put(state: bytearray, slot: int, value: bool) -> None:
    state[slot] = state[slot] & ~TRUE | value


def _range_of(starts: Any, item: int) -> int:
    """The range of `item`."""
    return bisect_right(starts, item) - 1
