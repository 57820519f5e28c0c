"""Finding and reading `game.tw-pddl` files, never outside the games folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GAME_FILE = "game.tw-pddl"
SPLITS = {"train": "train", "valid_seen": "seen", "valid_unseen": "unseen"}
"""The folders of the published data, and the paper's split of each."""

MAX_BYTES = 8 * 2**20
"""The largest published game file has about 230 kB."""

_KIND = re.compile(r"[a-z_]+")
_GET_GAMES = (
    "give a folder with train/, valid_seen/ and valid_unseen/ in it (alfworld-download downloads json_2.1.1)"
)


class GameError(ValueError):
    """A game file is missing or cannot be read. The message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class GameFile:
    """The content of a `game.tw-pddl` file. `walkthrough` is a winning plan, made with full knowledge."""

    path: Path
    domain: str
    problem: str
    grammar: str
    walkthrough: tuple[str, ...]
    solvable: bool


def read_game(path: Path) -> GameFile:
    """Read and check a game file.

    Raises:
        GameError: it is missing, too large, not JSON, or incomplete.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise GameError(f"{path} has {size} bytes; a game file has at most {MAX_BYTES}")
        data: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise GameError(f"there is no game {path}; {_GET_GAMES}") from error
    except OSError as error:
        raise GameError(f"the game {path} cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise GameError(
            f"{path} is not a complete JSON file ({error}); delete its folder and download the games again"
        ) from error
    texts: dict[str, str] = {}
    for key in ("pddl_domain", "pddl_problem", "grammar"):
        text = data.get(key) if isinstance(data, dict) else None
        if not isinstance(text, str):
            raise GameError(
                f"{path}: expected the text {key!r}, found {type(text).__name__}; not a PDDL game"
            )
        texts[key] = text
    walkthrough = data.get("walkthrough") or ()
    if not isinstance(walkthrough, list | tuple) or not all(isinstance(c, str) for c in walkthrough):
        raise GameError(f"{path}: expected `walkthrough` to be a list of commands")
    solvable = data.get("solvable") is not False
    return GameFile(
        path, texts["pddl_domain"], texts["pddl_problem"], texts["grammar"], tuple(walkthrough), solvable
    )


def locate(games: Path, game: str) -> Path:
    """The path of `game` (relative, as in a task's `spec`), which must stay inside the folder `games`.

    Raises:
        GameError: it leads out of the folder, or is not a game's path.
    """
    root = games.resolve()
    path = (root / game).resolve()
    if not path.is_relative_to(root) or path.name != GAME_FILE:
        raise GameError(f"{game!r} is not the path of a {GAME_FILE} inside {games}")
    return path


def find_games(games: str | Path | Sequence[str | Path]) -> list[Path]:
    """The game files of `games`: a game file, a folder with games at any depth, or a list of these.

    The games of a folder are sorted, without those that the stock engine's own collection leaves out
    (movable receptacles, sliced objects).

    Raises:
        GameError: there is none, or a place is missing.
    """
    named = [games] if isinstance(games, str | Path) else games
    found: list[Path] = []
    for place in map(Path, named):
        if not place.exists():
            raise GameError(f"there is no game {place}; {_GET_GAMES}")
        found += _below(place) if place.is_dir() else [place]
    if not found:
        raise GameError(
            f"there is no {GAME_FILE} in {', '.join(map(str, named)) or 'no folder'}; {_GET_GAMES}"
        )
    return found


def list_games(games: Path, split: str) -> Iterator[str]:
    """The games of a split's folder, found with `find_games`, as paths relative to `games`.

    Raises:
        GameError: the games folder is missing.
    """
    if not games.is_dir():
        raise GameError(f"there is no games folder {games}; {_GET_GAMES}")
    for path in _below(games / split, relative_to=games):
        yield path.relative_to(games).as_posix()


def _below(folder: Path, relative_to: Path | None = None) -> Iterator[Path]:
    for path in sorted(folder.glob(f"**/{GAME_FILE}")):
        name = path.relative_to(relative_to or folder.parent).as_posix()
        if "movable" not in name and "Sliced" not in name:
            yield path


def kind_of(game: str) -> str:
    """The task type of a game, from its folder `type-Object-MovableReceptacle-Receptacle-scene`."""
    parts = Path(game).parts
    found = _KIND.match(parts[-3] if len(parts) > 2 else "")
    return found[0] if found else "unknown"
