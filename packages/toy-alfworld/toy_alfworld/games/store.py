"""The generated games as files: made once for given options, completely or not at all, and found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from sand_dagster.environments import Progress
from sand_dagster.fingerprints import file_digest
from sand_dagster.home import locked
from sand_dagster.ids import digest
from toy_alfworld.games.catalogue import Rules
from toy_alfworld.games.game import TASK_KINDS, Game
from toy_alfworld.games.generation import VERSION, make_game, possible_kinds
from toy_alfworld.games.rooms import Split

SPLITS: tuple[Split, ...] = ("train", "seen", "unseen")

_MANIFEST = "games.json"
_UNFINISHED = ".unfinished"


def games_folder(
    home: Path, counts: Mapping[Split, int], seed: int, step_limit: int, rules: Rules = "usual"
) -> Path:
    """The folder of the games of these options, below `home`: its name is the hash of all that determines
    them."""
    key = digest("household games", VERSION, version("alfworld"), dict(counts), seed, step_limit, rules)[:12]
    return home / "games" / f"household-{key}"


def generated(
    folder: Path,
    counts: Mapping[Split, int],
    seed: int,
    step_limit: int,
    progress: Progress,
    rules: Rules = "usual",
) -> dict[Split, list[str]]:
    """The games' paths below `folder` by split, in their order; those not there yet are made.

    The list of games is written last. If it is missing, or if a game in it is missing or changed, the correct
    games are kept and the others are made. Several processes may call this at once.
    """
    total = sum(counts.values())
    with locked(folder):
        found = _complete(folder)
        if found is None:
            for stale in folder.rglob(f"*{_UNFINISHED}"):
                stale.unlink()
            found = {split: {} for split in SPLITS}
            for done, game in enumerate(make_games(counts, seed, step_limit, rules), start=1):
                content = json.dumps(game.file(), indent=1).encode()
                _write(folder / game.path, content)
                found[game.split][game.path] = hashlib.sha256(content).hexdigest()
                progress(done, total)
            _write(folder / _MANIFEST, json.dumps(found, indent=1).encode())
    progress(total, total)
    return {split: list(found[split]) for split in SPLITS}


def make_games(
    counts: Mapping[Split, int], seed: int, step_limit: int, rules: Rules = "usual"
) -> Iterator[Game]:
    """The games of an experiment: the six types in turn; `seen` in the rooms of the `train` games."""
    visited = {}
    for index in range(counts["train"]):
        kind = TASK_KINDS[index % len(TASK_KINDS)]
        game = make_game(f"{seed} {index}", "train", kind, None, step_limit, rules)
        visited[game.room.scene] = game.room
        yield game
    pool = tuple(visited.values()) or None
    kinds = possible_kinds(pool, rules) if pool else TASK_KINDS
    for index in range(counts["seen"]):
        yield make_game(f"{seed} {index}", "seen", kinds[index % len(kinds)], pool, step_limit, rules)
    for index in range(counts["unseen"]):
        kind = TASK_KINDS[index % len(TASK_KINDS)]
        yield make_game(f"{seed} {index}", "unseen", kind, None, step_limit, rules)


def altered(folder: Path) -> str | None:
    """The first game below `folder` that is missing or changed; None if there is none, or no list of
    games."""
    listed = _listed(folder) or {}
    contents = {path: content for games in listed.values() for path, content in games.items()}
    return next((path for path, content in contents.items() if _content(folder / path) != content), None)


def _complete(folder: Path) -> dict[Split, dict[str, str]] | None:
    """The list of games with their SHA-256, if it exists and every game matches it."""
    found = _listed(folder)
    return None if found is None or altered(folder) else found


def _listed(folder: Path) -> dict[Split, dict[str, str]] | None:
    try:
        found: dict[Split, dict[str, str]] = json.loads((folder / _MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _content(path: Path) -> str | None:
    return file_digest(path) if path.is_file() else None


def _write(path: Path, content: bytes) -> None:
    """Write `content` to `path` completely or not at all, unless it is already there."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + _UNFINISHED)
    unfinished.write_bytes(content)
    unfinished.replace(path)
