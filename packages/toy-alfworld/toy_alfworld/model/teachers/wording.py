"""Varied wording for the teachers: sentences with alternatives, expanded by a seeded generator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


def say(rng: Random, text: str, slots: Mapping[str, str]) -> str:
    """Pick one option of every `[a|b|c]` (innermost first), fill `{name}` slots, and fold white space.

    Raises:
        KeyError: a slot is not in `slots`.
    """
    while _ALTERNATIVES.search(text):
        text = _ALTERNATIVES.sub(lambda found: rng.choice(found[1].split("|")), text)
    return " ".join(_SLOT.sub(lambda slot: slots[slot[1]], text).split())


def sentence(text: str) -> str:
    """`text` with a capital first letter and a full stop at its end."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
