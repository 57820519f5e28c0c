"""Files that no kept score needs, and that can be removed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from sand_dagster.artifacts.catalogue import input_place
from sand_dagster.artifacts.history import (
    HISTORY,
    MODELS,
    Version,
    all_versions,
    experiments_in,
    partition_folders,
)
from sand_dagster.artifacts.schemas import SCORES
from sand_dagster.artifacts.store import JOURNAL, ArtifactStore

Place = tuple[str, str, str | None]
"""Experiment, table, iteration."""


class Removal(NamedTuple):
    """A file or folder that can be removed; `why` is the reason, for a person."""

    path: Path
    bytes: int
    why: str


def removals(home: Path, experiment: str, *, superseded: bool, journals: bool) -> list[Removal]:
    """What `sand clean` removes from an experiment, the largest first.

    These are earlier versions of tables and checkpoints that no kept score of any experiment of this home
    needs, and files that a killed process left. Kept are the current scores and, unless `superseded`, those
    of earlier versions. With `journals`, the journals of complete partitions are removed too: their content
    is in the tables, but if the stage runs again it repeats its units, and prompts of turns cannot be
    checked.

    Raises:
        TornArtifact: a version of a table is damaged, so that it is not known what it needs.
    """
    store = ArtifactStore(home, experiment)  # raises on an old layout
    kept = {
        (name, *place): there
        for name in experiments_in(home)
        for place, there in all_versions(home, name).items()
    }
    for version in chain.from_iterable(kept.values()):
        _ = version.data  # checked
    needed = _needed(kept, superseded=superseded)
    found: list[Removal] = []
    for table, iteration, folder in partition_folders(home, experiment):
        there = kept.get((experiment, table, iteration), [])
        found += _versions(folder, there, needed)
        if not folder.is_dir() or store.being_written(table, iteration):
            continue  # what lies there may be the writer's own
        found += _leftovers(folder)
        if journals and there and there[-1].current:
            found += _journal(folder)
    return sorted(found, key=lambda removal: (-removal.bytes, removal.path))


def remove(removals: Sequence[Removal]) -> int:
    """Remove them; returns how many bytes were freed. A folder's manifest is removed before its rows."""
    freed = 0
    for removal in sorted(removals, key=lambda each: each.path.suffix != ".json"):
        if removal.path.is_dir():
            shutil.rmtree(removal.path)
        else:
            removal.path.unlink(missing_ok=True)
        freed += removal.bytes
    return freed


def _needed(kept: dict[Place, list[Version]], *, superseded: bool) -> set[Path]:
    """The manifests of the versions that kept scores need, and those of the scores themselves."""
    needed: set[Path] = set()
    waiting = [
        version
        for (_, table, _), there in kept.items()
        if table in SCORES
        for version in there
        if version.current or not superseded
    ]
    while waiting:
        version = waiting.pop()
        if version.manifest_file in needed:
            continue
        needed.add(version.manifest_file)
        made = version.manifest
        for name, content_hash in made.inputs.items():
            there = kept.get(input_place(name, made.experiment, made.iteration), [])
            waiting += [each for each in there if each.manifest.content_hash == content_hash]
    return needed


def _versions(folder: Path, there: Sequence[Version], needed: set[Path]) -> Iterator[Removal]:
    """Earlier versions that nothing needs: their manifests, and the files that no other version has."""
    going = [each for each in there if not each.current and each.manifest_file not in needed]
    staying = [each for each in there if each not in going]
    below = folder / HISTORY
    for version in going:
        when = version.manifest.created_at.strftime("%Y-%m-%d %H:%M")
        why = f"version of {when} that no kept score needs"
        yield _removal(version.manifest_file, why)
    earlier = [each for each in staying if not each.current]
    models = {each.model for each in earlier if each.manifest.table == "checkpoints"}
    hashes = {name for each in earlier for name in (each.file.stem, *each.manifest.links.values())}
    for path in sorted(below.glob("*")):
        if path.is_file() and path.suffix != ".json" and path.name.partition(".")[0] not in hashes:
            yield _removal(path, "rows of a version that no kept score needs")
    for model in sorted((below / MODELS).glob("*")):
        if model not in models:
            yield _removal(model, "a checkpoint's model that no kept score needs")


def _leftovers(folder: Path) -> Iterator[Removal]:
    """What a killed process left in a partition that no process writes."""
    for path in sorted(folder.glob("*.writing")):
        yield _removal(path, "left by a process that was killed")
    for path in sorted(folder.glob(".*.training")):
        yield _removal(path, "left by a training that was killed")


def _journal(folder: Path) -> Iterator[Removal]:
    journal = folder / JOURNAL
    if journal.exists() and journal.stat().st_size:
        yield _removal(journal, "journal of a partition that is complete")


def _removal(path: Path, why: str) -> Removal:
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    # A hard link to a file that is kept elsewhere frees no space.
    return Removal(path, sum(f.stat().st_size for f in files if f.stat().st_nlink == 1), why)
