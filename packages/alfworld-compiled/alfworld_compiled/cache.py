"""Compiled games on disk, one file each, named by the game's content and the engine's version.

A file is a mark, the SHA-256 of the rest, and the rest: deflated JSON, its arrays as base64 of 32-bit
numbers. It is written beside its place and moved there, so several processes may compile the same game at
once. A damaged file does not match its hash and is made again. Reading a file cannot run code.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import tempfile
import zlib
from array import array
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alfworld_compiled.games import GameError
from alfworld_compiled.program import Lexicon, Mechanics, Program

ENGINE_VERSION = 1
"""Raise this version when the compiler makes another `Program` of the same game."""

_MARK = b"alfworld-compiled game\n"
_HASH_BYTES = 32
_MAX_BYTES = 256 * 2**20
"""The largest inflated size of a file. The largest published game has about 1 MB."""


def default_cache() -> Path:
    """The folder of compiled games: `$ALFWORLD_COMPILED_CACHE`, else `~/.cache/alfworld-compiled`."""
    named = os.environ.get("ALFWORLD_COMPILED_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alfworld-compiled"


def place_of(game: Path, folder: Path) -> Path:
    """The file of `game` in the cache `folder`, which need not exist."""
    try:
        content = game.read_bytes()
    except OSError:
        content = b""
    return folder / f"{_key(content)}.game"


def is_compiled(game: Path, folder: Path) -> bool:
    """Whether the cache `folder` has a file for `game`. `read_program` checks whether it is complete."""
    return place_of(game, folder).exists()


@cache
def _versions() -> bytes:
    libraries = [version("textworld"), version("fast-downward-textworld"), version("alfworld")]
    return " ".join([str(ENGINE_VERSION), *libraries]).encode()


def _key(content: bytes) -> str:
    return hashlib.sha256(_versions() + b"\n" + content).hexdigest()[:32]


def read_program(place: Path) -> Program | None:
    """The program at `place`; None if there is none, or if it is damaged."""
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        return None
    if not data.startswith(_MARK):
        return None
    expected, packed = data[len(_MARK) :][:_HASH_BYTES], data[len(_MARK) + _HASH_BYTES :]
    if hashlib.sha256(packed).digest() != expected:
        return None
    try:
        inflater = zlib.decompressobj()
        text = inflater.decompress(packed, _MAX_BYTES)
        content: Any = json.loads(text) if inflater.eof else None
        return Program(_restore(Lexicon, content["lexicon"]), _restore(Mechanics, content["mechanics"]))
    except (zlib.error, ValueError, KeyError, TypeError):
        return None


def write_program(place: Path, program: Program) -> None:
    """Keep `program` at `place`.

    Raises:
        GameError: there is no space for it, or no permission.
    """
    content = {"lexicon": _plain(program.lexicon), "mechanics": _plain(program.mechanics)}
    packed = zlib.compress(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), 3)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place.parent, suffix=".part", delete=False) as file:
            part = Path(file.name)
            file.write(_MARK + hashlib.sha256(packed).digest() + packed)
        part.replace(place)
    except OSError as error:
        raise GameError(
            f"the compiled game cannot be kept in {place.parent}: {error}; free some space there"
        ) from error


def _plain(part: Lexicon | Mechanics) -> dict[str, Any]:
    return {field.name: _plain_value(getattr(part, field.name)) for field in fields(part)}


def _plain_value(value: Any) -> Any:
    if isinstance(value, array):
        numbers = array("i", value)
        if sys.byteorder == "big":
            numbers.byteswap()
        return base64.b64encode(numbers.tobytes()).decode()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _restore(kind: type[Any], content: dict[str, Any]) -> Any:
    return kind(**{field.name: _restored(str(field.type), content[field.name]) for field in fields(kind)})


def _restored(kind: str, value: Any) -> Any:
    if kind == "bytes":
        return base64.b64decode(value)
    if kind.startswith("array"):
        numbers = array("i", base64.b64decode(value))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers
    return value
