"""`sand verify`: computes every recorded hash of an experiment again, and follows every recorded link."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sand_dagster.artifacts.catalogue import input_place
from sand_dagster.artifacts.content import ContentHash
from sand_dagster.artifacts.history import HISTORY, MODEL, earlier_version, partition_folders
from sand_dagster.artifacts.identity import short
from sand_dagster.artifacts.links import KEYS, LINKS
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.orphans import orphans
from sand_dagster.artifacts.parquet import scan_parquet
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.sql import Database
from sand_dagster.artifacts.store import DATA, JOURNAL, LOCK, MANIFEST, ArtifactStore
from sand_dagster.artifacts.stored_rows import StoredRows
from sand_dagster.errors import LEADS_TO_ITSELF, NO_FILE, NO_FOLDER, ArtifactError, TornArtifact, in_the_way
from sand_dagster.execution.journal import damaged_lines
from sand_dagster.fingerprints import forget, remembered_digest
from sand_dagster.home import stays_inside
from sand_dagster.rows.models import BaseModelRow, CheckpointRow

REPORT = "training.json"
"""The one file of a checkpoint's model that records the others."""

_FILES = {DATA, MANIFEST, JOURNAL, LOCK, KEYS, LINKS, HISTORY}
_UNREADABLE = {
    errno.ENOTDIR: NO_FOLDER,
    errno.EISDIR: NO_FILE,
    errno.ELOOP: LEADS_TO_ITSELF,
    errno.ENOENT: "a symbolic link to what is not there",
}
_BLOCK = 512
_IDS_NAMED = 3


class Damage(NamedTuple):
    """A file that differs from its record: which file, what is wrong with it, what to do."""

    file: Path
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class Verified:
    """How many complete partitions were checked, and what was found."""

    partitions: int
    damages: list[Damage]


def verify(store: ArtifactStore) -> Verified:
    """Compute every recorded hash of the experiment again, without the cache of hashes.

    A partition that is not complete, or that a run is writing, is not damaged. After this, `sand run`
    and `sand plan` know what was found, even if a file was changed and its size and times were not.
    """
    return _Verification(store).whole()


class _Verification:
    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._below = store.home / store.experiment
        self._manifests: dict[tuple[str, str | None], Manifest] = {}
        self._whole: set[tuple[str, str | None]] = set()

    def whole(self) -> Verified:
        damages = list(self._strays())
        for table, iteration, _ in partition_folders(self._store.home, self._store.experiment):
            damages += self._readable(table, iteration)
        damages += self._chain()
        if len(self._whole) == len(self._manifests) and not damages:
            damages += self._orphans()
        return Verified(len(self._manifests), damages)

    def _readable(self, table: str, iteration: str | None) -> Iterator[Damage]:
        """What `_partition` finds, and the file that the system did not let it read, if there is one."""
        try:
            yield from self._partition(table, iteration)
        except OSError as error:
            path = in_the_way(Path(error.filename or self._store.folder(table, iteration)))
            run = f"`sand run {self._store.experiment} --until {iteration or '00'}` makes what is missing"
            problem = _UNREADABLE.get(error.errno or 0, error.strerror or str(error))
            yield Damage(path, problem, f"Make it readable, or move it away: then {run}")

    def _strays(self) -> Iterator[Damage]:
        """Files that belong to no partition."""
        remedy = "Nothing reads it: remove it"
        for path in sorted(self._below.iterdir()) if self._below.is_dir() else ():
            if path.name not in TABLES and path.is_dir():
                yield Damage(path, "no table has this name", remedy)
        for name, table in TABLES.items():
            below = self._below / name
            if os.path.lexists(below) and not below.is_dir():
                again = f"`sand run {self._store.experiment}` makes {name} again"
                yield Damage(below, NO_FOLDER, f"Move it away; then {again}")
            if not table.partitioned or not below.is_dir():
                continue
            for path in sorted(below.iterdir()):
                number = path.name.removeprefix("iteration=")
                if not (path.name.startswith("iteration=") and number.isdigit() and len(number) >= 2):
                    yield Damage(path, f"{name} is kept by iteration, and this is not one", remedy)

    def _partition(self, table: str, iteration: str | None) -> Iterator[Damage]:
        folder = self._store.folder(table, iteration)
        if self._store.being_written(table, iteration):
            return
        forget(folder)
        yield from _earlier(folder / HISTORY)
        again = self._again(table, iteration)
        try:
            manifest = self._store.manifest(table, iteration)
        except TornArtifact as error:
            yield Damage(folder / MANIFEST, f"expected {error.expected}, found {error.found}", again)
            return
        if manifest is not None:
            self._manifests[table, iteration] = manifest
            found = [*self._manifest(manifest, table, iteration), *self._rows(manifest, table, iteration)]
            if not found:
                self._whole.add((table, iteration))
            yield from found
        yield from self._journal(folder / JOURNAL, iteration, complete=manifest is not None)
        if (table, iteration) in self._whole:
            yield from self._links(self._manifests[table, iteration], folder)
        known = _FILES | ({MODEL} if table == "checkpoints" else set())
        for path in sorted(folder.iterdir()):
            if path.name not in known and manifest is not None:
                yield Damage(path, "not a part of the partition", "Nothing reads it: remove it")

    def _manifest(self, manifest: Manifest, table: str, iteration: str | None) -> Iterator[Damage]:
        recorded = (manifest.experiment, manifest.table, manifest.iteration)
        here = (self._store.experiment, table, iteration)
        if recorded != here:
            file = self._store.folder(table, iteration) / MANIFEST
            what = f"it is the manifest of {_named(*recorded)}, in the place of that of {_named(*here)}"
            yield Damage(file, what, self._from_start(table, iteration))

    def _rows(self, manifest: Manifest, table: str, iteration: str | None) -> Iterator[Damage]:
        data = self._store.folder(table, iteration) / DATA
        again, from_start = self._again(table, iteration), self._from_start(table, iteration)
        if os.path.lexists(data) and not data.is_file():
            yield Damage(data, "expected a file, found something else", f"Move it away; then {again}")
            return
        if not data.is_file():
            yield Damage(data, f"the file is gone; its manifest is for {manifest.rows} rows", again)
            return
        sha256 = remembered_digest(data)
        if sha256 != manifest.parquet_sha256:
            what = f"altered: SHA-256 {short(sha256)}, recorded {short(manifest.parquet_sha256)}"
            yield Damage(data, what, again)
            return
        rows = scan_parquet(data)
        try:
            schema = dict(rows.collect_schema())
            if schema != TABLES[table].schema:
                yield Damage(data, f"its columns are not those of this version's {table}", again)
                return
            found = ContentHash(TABLES[table])
            count = 0
            for frame in _frames(rows):
                found.update(frame)
                count += frame.height
        except pl.exceptions.PolarsError as error:
            yield Damage(data, f"it cannot be read as Parquet ({error})", from_start)
            return
        if count != manifest.rows:
            yield Damage(data, f"it has {count} rows, its manifest says {manifest.rows}", from_start)
        elif found.hexdigest() != manifest.content_hash:
            what = (
                f"content hash {short(found.hexdigest())}, its manifest says {short(manifest.content_hash)}"
            )
            yield Damage(data, what, from_start)
        elif table == "checkpoints":
            yield from self._checkpoints(rows, iteration)
        elif table == "base_model":
            yield from self._base_model(rows)

    def _journal(self, journal: Path, iteration: str | None, *, complete: bool) -> Iterator[Damage]:
        lines, torn = damaged_lines(journal)
        remedy = (
            f"The rows do not need such lines: `sand run {self._store.experiment} --until "
            f"{iteration or '00'}` takes them out"
            if complete
            else "The next run drops such lines and does their units again"
        )
        if lines:
            listed = ", ".join(map(str, lines[:_IDS_NAMED])) + (", …" if len(lines) > _IDS_NAMED else "")
            yield Damage(journal, f"damaged in {len(lines)} of its lines ({listed})", remedy)
        if torn and complete:
            yield Damage(journal, "its last line is torn", remedy)

    def _links(self, manifest: Manifest, folder: Path) -> Iterator[Damage]:
        """The ids that are kept beside the rows; where a file is gone the rows are used."""
        for name, sha256 in manifest.links.items():
            path = folder / name
            if path.exists() and (found := remembered_digest(path)) != sha256:
                what = f"altered: SHA-256 {short(found)}, recorded {short(sha256)}"
                run = f"`sand run {self._store.experiment} --until {manifest.iteration or '00'}`"
                yield Damage(path, what, f"{run} makes it again from the rows")

    def _checkpoints(self, rows: pl.LazyFrame, iteration: str | None) -> Iterator[Damage]:
        again = f"`sand run {self._store.experiment} --until {iteration}` finetunes it again"
        for row in StoredRows(CheckpointRow, rows):
            folder = self._store.home / row.folder
            if not stays_inside(row.folder):
                yield Damage(folder, "it is outside $SAND_HOME", self._from_start("checkpoints", iteration))
                continue
            yield from _model(folder, row, again)
            hashes = {file.file: file.sha256 for file in row.files}
            yield from _report(folder / REPORT, hashes, self._from_start("checkpoints", iteration))

    def _base_model(self, rows: pl.LazyFrame) -> Iterator[Damage]:
        remedy = (
            f"Restore the file. Otherwise `sand run {self._store.experiment} --until 00` records the "
            "changed model, and everything that was made with it is made again"
        )
        for row in StoredRows(BaseModelRow, rows):
            forget(Path(row.folder))
            yield from _file(Path(row.folder) / row.file, row.bytes, row.sha256, remedy)

    def _chain(self) -> Iterator[Damage]:
        """Inputs that changed or are gone since something was made from them."""
        for (table, iteration), manifest in self._manifests.items():
            file = self._store.folder(table, iteration) / MANIFEST
            for name, content in manifest.inputs.items():
                now = self._input(name, iteration)
                if now == content:
                    continue
                what = f"made from {name} {short(content)}, which is now {short(now)}"
                yield Damage(file, what, self._again(table, iteration))

    def _input(self, name: str, iteration: str | None) -> str | None:
        """The content hash of the partition that is `name` in a manifest's inputs; None: it is gone."""
        owner, table, partition = input_place(name, self._store.experiment, iteration)
        if table not in TABLES:
            return None
        if owner == self._store.experiment:
            here = self._manifests.get((table, partition))
            return here.content_hash if here else None
        try:
            found = ArtifactStore(self._store.home, owner).manifest(table, partition)
        except (ArtifactError, ValueError):
            return None
        return found.content_hash if found else None

    def _orphans(self) -> Iterator[Damage]:
        """Ids of parents that no row has, up to the expert's steps."""
        found = orphans(Database(self._store.home, self._store.experiment))
        for (table, iteration, column), rows in found.group_by(
            "table", "iteration", "column", maintain_order=True
        ):
            ids = rows["missing"].to_list()
            listed = ", ".join(ids[:_IDS_NAMED]) + (", …" if len(ids) > _IDS_NAMED else "")
            yield Damage(
                self._store.folder(str(table), iteration) / DATA,
                f"{len(ids)} ids in {column} belong to no row ({listed})",
                self._from_start(str(table), iteration),
            )

    def _again(self, table: str, iteration: str | None) -> str:
        return (
            f"`sand run {self._store.experiment} --until {iteration or '00'}` makes {table} again, "
            "with the finished units that the journal beside it holds"
        )

    def _from_start(self, table: str, iteration: str | None) -> str:
        manifest = self._store.folder(table, iteration) / MANIFEST
        return f"Remove {manifest}; then {self._again(table, iteration)}"


def _earlier(history: Path) -> Iterator[Damage]:
    """Earlier versions: manifests, files of rows and of ids, which are named by their SHA-256, and models."""
    forget(history)
    remedy = "Remove it; this earlier version can then no longer be read"
    altered: set[Path] = set()
    for path in sorted([*history.glob("*.parquet"), *history.glob("*.arrow")]):
        # Earlier releases named the files of ids otherwise, and nothing reads those.
        if "." not in path.stem and (found := remembered_digest(path)) != path.stem:
            altered.add(path)
            without = remedy if path.suffix == ".parquet" else "Remove it: the rows have the same ids"
            yield Damage(path, f"altered: SHA-256 {short(found)}, named {short(path.stem)}", without)
    for path in sorted(history.glob("*.json")):
        try:
            version = earlier_version(path)
        except TornArtifact as error:
            yield Damage(path, f"expected {error.expected}, found {error.found}", remedy)
            continue
        if version is None or version.manifest.table != "checkpoints" or version.file in altered:
            continue
        for row in StoredRows(CheckpointRow, scan_parquet(version.file)):
            without = f"Remove {path}; `sand clean` then removes the rest of this earlier version"
            yield from _model(version.model, row, without)


def _model(folder: Path, row: CheckpointRow, remedy: str) -> Iterator[Damage]:
    """A checkpoint's model against the files that the checkpoint's row recorded."""
    forget(folder)
    recorded = {file.file: file for file in row.files}
    for name, file in recorded.items():
        yield from _file(folder / name, file.bytes, file.sha256, remedy)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in recorded and path.name != REPORT:
            yield Damage(path, "not among the files that the checkpoint recorded", "Remove it")


def _frames(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    for start in range(0, rows.select(pl.len()).collect().item(), _BLOCK):
        yield rows.slice(start, _BLOCK).collect()


def _file(path: Path, size: int, sha256: str, remedy: str) -> Iterator[Damage]:
    if not path.is_file():
        yield Damage(path, "the file is gone", remedy)
    elif path.stat().st_size != size:
        yield Damage(path, f"{path.stat().st_size} bytes, recorded {size}", remedy)
    elif (found := remembered_digest(path)) != sha256:
        yield Damage(path, f"altered: SHA-256 {short(found)}, recorded {short(sha256)}", remedy)


def _report(path: Path, files: dict[str, str], remedy: str) -> Iterator[Damage]:
    """The report of a finetuning has to list the same files; no hash of the report itself was kept."""
    try:
        report: Any = json.loads(path.read_bytes())
        recorded = report["files"]
    except FileNotFoundError:
        yield Damage(path, "the file is gone", remedy)
    except (ValueError, KeyError, TypeError, RecursionError):
        yield Damage(path, "it is not the report of a finetuning", remedy)
    else:
        if recorded != files:
            yield Damage(path, "it lists other files or hashes than the checkpoint's row", remedy)


def _named(experiment: str, table: str, iteration: str | None) -> str:
    return f"{experiment}/{table}" + (f" for iteration {iteration}" if iteration else "")
