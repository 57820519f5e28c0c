"""Ids and seeds: both are hashes of what determines a row, so the same inputs always give the same ids."""

from __future__ import annotations

import dataclasses
import hashlib
import json

_ID_DIGITS = 16


def digest(*parts: object) -> str:
    """SHA-256, in hex, of the parts as canonical JSON; a dataclass counts as its fields."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)


def identify(table: str, *parts: object) -> str:
    """The id of a row of `table` that `parts` determine: 16 hex digits."""
    return digest(table, *parts)[:_ID_DIGITS]


def derive_seed(*parts: object) -> int:
    """A sampling seed in [0, 2**31), derived from (experiment seed, iteration, trajectory, ...)."""
    return int(digest("seed", *parts)[:8], 16) & 0x7FFFFFFF
