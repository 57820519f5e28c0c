"""The earlier versions of a partition: their manifests, and their files named by their hash.

`<partition>/history/` holds `<time>-<content hash>.json` for each earlier manifest, `<SHA-256>.parquet` for
its rows, `<SHA-256>.arrow` for their sorted ids, and `models/<model id>/` for an earlier checkpoint's model.
Files are hard links if the file system has them: a version that changed nothing takes no space.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sand_dagster.artifacts.links import PartitionLinks
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.parquet import scan_parquet
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.errors import ArtifactError, DiskFull, TornArtifact, is_disk_full
from sand_dagster.files import sync_folder
from sand_dagster.fingerprints import file_digest

HISTORY, MODELS, MODEL = "history", "models", "model"
DATA, MANIFEST = "data.parquet", "manifest.json"


class TornVersion(TornArtifact):
    """A file of an earlier version is damaged. No run makes it again."""

    def __init__(self, found: TornArtifact) -> None:
        super().__init__(found.file, found.expected, found.found)
        self.args = (
            f"{self.file} is damaged: expected {self.expected}, found {self.found}. It is an earlier "
            "version, which no run makes again: remove the file; this version is then gone.",
        )


class Version(NamedTuple):
    """A partition as it was committed once. `manifest_file` is gone when the version is.

    `file` is where its rows lie; `data` is the same file after a check.
    """

    manifest: Manifest
    manifest_file: Path
    file: Path
    current: bool

    @property
    def data(self) -> Path:
        """The file with its rows.

        Raises:
            TornArtifact: it is not the one that the manifest was written for.
        """
        try:
            return self.manifest.checked(self.file)
        except TornArtifact as error:
            raise error if self.current else TornVersion(error) from None

    @property
    def folder(self) -> Path:
        """The partition's."""
        return self.manifest_file.parent if self.current else self.manifest_file.parent.parent

    @property
    def model(self) -> Path:
        """The folder of a checkpoint's model."""
        if self.current:
            return self.folder / MODEL
        return self.folder / HISTORY / MODELS / _model_id(self.data)

    def links(self) -> PartitionLinks:
        """The ids in its rows."""
        files = {
            name: (self.file.parent / (name if self.current else f"{sha256}.arrow"), sha256)
            for name, sha256 in self.manifest.links.items()
        }
        return PartitionLinks(TABLES[self.manifest.table], self.data, files)


def keep(folder: Path) -> None:
    """Keep the content of the partition `folder` before it is replaced. A damaged file is not kept.

    If it is killed at any moment, it leaves files that `sand clean` lists, and never a manifest without its
    rows.

    Raises:
        DiskFull: there was no space; the partition is as it was.
    """
    try:
        manifest = Manifest.load(folder / MANIFEST)
    except TornArtifact:
        return
    data = folder / DATA
    if manifest is None or not data.exists() or file_digest(data) != manifest.parquet_sha256:
        return
    if (folder / MODEL).is_dir() and not _is_whole(folder / MODEL, data):
        return
    below = folder / HISTORY
    below.mkdir(exist_ok=True)
    _link(data, below / f"{manifest.parquet_sha256}.parquet")
    for name, sha256 in manifest.links.items():
        if (folder / name).exists() and file_digest(folder / name) == sha256:
            _link(folder / name, below / f"{sha256}.arrow")
    if (folder / MODEL).is_dir():
        model = below / MODELS / _model_id(data)
        model.mkdir(parents=True, exist_ok=True)
        for file in (path for path in (folder / MODEL).iterdir() if path.is_file()):
            _link(file, model / file.name)
    when = manifest.created_at.strftime("%Y%m%dT%H%M%S%f")
    _link(folder / MANIFEST, below / f"{when}-{manifest.content_hash[:16]}.json")
    sync_folder(below)


def versions(folder: Path) -> list[Version]:
    """All complete versions of the partition in `folder`, the oldest first; the current one is last.

    Raises:
        TornArtifact: a manifest cannot be read.
    """
    found = (earlier_version(file) for file in (folder / HISTORY).glob("*.json"))
    kept = [version for version in found if version is not None]
    kept.sort(key=lambda version: version.manifest.created_at)
    current = _current(folder)
    if current is not None:
        kept = [version for version in kept if version.manifest != current.manifest]
        kept.append(current)
    return kept


def earlier_version(manifest_file: Path) -> Version | None:
    """The version that was kept with this manifest; None if it is gone.

    Raises:
        TornArtifact: the manifest cannot be read.
    """
    try:
        manifest = Manifest.load(manifest_file)
    except TornArtifact as error:
        raise TornVersion(error) from None
    if manifest is None:
        return None
    rows = manifest_file.with_name(f"{manifest.parquet_sha256}.parquet")
    return Version(manifest, manifest_file, rows, current=False) if rows.exists() else None


def partition_folders(home: Path, experiment: str) -> Iterator[tuple[str, str | None, Path]]:
    """Table, iteration and folder of every partition that was ever started, in the tables' order."""
    for name, table in TABLES.items():
        below = home / experiment / name
        if not table.partitioned:
            if below.is_dir():
                yield name, None, below
            continue
        for folder in sorted(below.glob("iteration=[0-9][0-9]*")):
            if (iteration := folder.name.removeprefix("iteration=")).isdigit():
                yield name, iteration, folder


def experiments_in(home: Path) -> list[str]:
    """The experiments that have tables below `home`."""
    if not home.is_dir():
        return []
    return sorted(
        folder.name
        for folder in home.iterdir()
        if folder.is_dir() and any((folder / name).is_dir() for name in TABLES)
    )


def all_versions(home: Path, experiment: str) -> dict[tuple[str, str | None], list[Version]]:
    """The versions of every partition of an experiment.

    Raises:
        TornArtifact: a manifest cannot be read.
    """
    found = {
        (table, iteration): versions(folder)
        for table, iteration, folder in partition_folders(home, experiment)
    }
    return {place: kept for place, kept in found.items() if kept}


def current_versions(
    home: Path, experiment: str, until: str | None = None
) -> dict[tuple[str, str | None], Version]:
    """Every complete partition, up to the iteration `until`, as it is now.

    Raises:
        TornArtifact: a manifest cannot be read.
    """
    return {
        (table, iteration): version
        for table, iteration, folder in partition_folders(home, experiment)
        if until is None or iteration is None or iteration <= until
        if (version := _current(folder)) is not None
    }


def as_of(home: Path, experiment: str, run: str | None) -> dict[tuple[str, str | None], Version]:
    """Every partition as it was after the run `run` had written its last one; None: as it is now.

    `run` may be the first letters of a run's id.

    Raises:
        ArtifactError: no version of any table was written by such a run, or by several; or a manifest cannot
            be read.
    """
    if run is None:
        return current_versions(home, experiment)
    kept = all_versions(home, experiment)
    written: dict[str, datetime] = {}
    for version in (version for there in kept.values() for version in there):
        at, by = version.manifest.created_at, version.manifest.run_id
        written[by] = max(at, written.get(by, at))
    meant = [id for id in written if id.startswith(run)]
    if len(meant) != 1:
        listed = "\n".join(
            f"  {id}  {at:%Y-%m-%d %H:%M:%S}" for id, at in sorted(written.items(), key=lambda e: e[1])
        )
        raise ArtifactError(
            f"experiment {experiment}: {'several runs begin' if meant else 'no table was written by a run'} "
            f"with {run!r}; the runs whose tables are kept:\n{listed or '  none'}"
        )
    until = written[meant[0]]
    then = {
        place: [version for version in there if version.manifest.created_at <= until]
        for place, there in kept.items()
    }
    return {place: there[-1] for place, there in then.items() if there}


def _current(folder: Path) -> Version | None:
    manifest = Manifest.load(folder / MANIFEST)
    if manifest is None:
        return None
    return Version(manifest, folder / MANIFEST, folder / DATA, current=True)


def _model_id(data: Path) -> str:
    """Of the checkpoint whose row is in `data`."""
    model_id: str = scan_parquet(data).select("model_id").head(1).collect().item()
    return model_id


def _is_whole(model: Path, data: Path) -> bool:
    """Whether the files of a checkpoint's model are those that its row in `data` recorded."""
    recorded = scan_parquet(data).select(pl.col("files").explode()).unnest("files").collect()
    return all(
        (model / name).is_file() and file_digest(model / name) == sha256
        for name, sha256 in recorded.select("file", "sha256").iter_rows()
    )


def _link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy of it if the file system has no links."""
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFull(target) from error
        partial = target.with_name(f"{target.name}.writing")
        try:
            shutil.copy2(source, partial)
        except OSError as full:
            partial.unlink(missing_ok=True)
            if is_disk_full(full):
                raise DiskFull(target) from full
            raise
        partial.replace(target)
