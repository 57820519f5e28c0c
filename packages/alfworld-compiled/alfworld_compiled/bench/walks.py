"""Seeded walks through a text game: every kind of command, correct and malformed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from alfworld_compiled.spelling import MOVE_USE, PUT_TOGGLE

_GIBBERISH = (
    "",
    " ",
    "xyzzy",
    "go to the moon 1",
    "take nothing from nowhere",
    "open",
    "examine",
    "move  to ",
    "go to {r.name}",
    "#intro#",
    "Look",
    "inventory .",
    "使用 desklamp 1",
)
_WEIGHTS = {
    "go": 2.0,
    "take": 4.0,
    "open": 3.0,
    "heat": 4.0,
    "cool": 4.0,
    "clean": 4.0,
    "slice": 6.0,
    "use": 4.0,
    "toggle": 4.0,
    "examine": 1.5,
    "look": 0.5,
    "inventory": 0.5,
    "help": 0.2,
}
"""Weights of verbs, default 1: verbs that are rarely possible, and make progress, are drawn more often."""

_SHARES = (
    ("admissible", 68),
    ("badly written", 10),
    ("inadmissible", 8),
    ("other grammar", 6),
    ("gibberish", 4),
    ("with a number", 4),
)


class Walker:
    """Chooses the next command from the admissible ones, by a seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._seen: list[str] = []

    def choose(self, admissible: Sequence[str]) -> str:
        """A command, usually an admissible one; its verb is drawn first, so that rare verbs are chosen
        too."""
        self._seen.extend(admissible)
        kinds, weights = zip(*_SHARES, strict=True)
        kind = self._random.choices(kinds, weights)[0]
        command = self._by_verb(admissible)
        if kind == "badly written":
            return self._random.choice(_SPOILERS)(command)
        if kind == "inadmissible":
            return self._random.choice(self._seen)
        if kind == "other grammar":
            return self._in_other_grammar(admissible)
        if kind == "gibberish":
            return self._random.choice(_GIBBERISH)
        if kind == "with a number":
            return f"{command.rstrip('0123456789')}{self._random.randrange(12)}"
        return command

    def _by_verb(self, commands: Sequence[str]) -> str:
        verbs = sorted({c.split(" ", 1)[0] for c in commands})
        verb = self._random.choices(verbs, [_WEIGHTS.get(verb, 1.0) for verb in verbs])[0]
        return self._random.choice([c for c in commands if c.split(" ", 1)[0] == verb])

    def _in_other_grammar(self, commands: Sequence[str]) -> str:
        spelled = [
            other for c in commands for s in (PUT_TOGGLE, MOVE_USE) if (other := s.respell(c)) not in commands
        ]
        return self._random.choice(spelled or ["put apple 1 in/on fridge 1", "toggle desklamp 1 desk 1"])


class Player:
    """Chooses an admissible command, by a seed: an agent without a model."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def choose(self, admissible: Sequence[str]) -> str:
        return self._random.choice(admissible)


_SPOILERS: tuple[Callable[[str], str], ...] = (
    str.upper,
    str.title,
    lambda command: f"  {command} ",
    lambda command: f"\t{command}\n",
    lambda command: command.replace(" ", "  ", 1),
    lambda command: command.replace(" ", "\t"),
    lambda command: f"{command}.",
    lambda command: command[:-1],
    lambda command: f"{command} {command}",
)
