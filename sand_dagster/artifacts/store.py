"""Tables on disk: `$SAND_HOME/<experiment>/<table>/iteration=<k>/` has a Parquet file and a manifest."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from sand_dagster.artifacts.history import DATA, MANIFEST, keep
from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.links import write_links
from sand_dagster.artifacts.manifest import Manifest, package_versions
from sand_dagster.artifacts.parquet import Count, Written, evaluate_counts, scan_parquet, write_parquet
from sand_dagster.artifacts.schemas import TABLES, Table
from sand_dagster.errors import MissingArtifact, OldLayout, PartitionBusy, TornArtifact
from sand_dagster.execution.journal import Journal, JournalReader, damaged_lines
from sand_dagster.files import remove, write_whole
from sand_dagster.fingerprints import remembered_digest, remembered_finding, written_digest
from sand_dagster.rows.row import Row

JOURNAL, LOCK = "journal.jsonl", "writer.lock"
"""The files of a partition other than its rows and its manifest."""

__all__ = ["DATA", "JOURNAL", "LOCK", "MANIFEST", "ArtifactStore", "PartitionWriter"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ITERATION = re.compile(r"\d{2,}")


class PartitionWriter:
    """A partition being written: the journal of its finished units, then its rows."""

    def __init__(self, folder: Path, table: Table, journal: Journal, provenance: dict[str, Any]) -> None:
        self.journal = journal
        self._folder, self._table, self._provenance = folder, table, provenance

    @property
    def folder(self) -> Path:
        """The partition's folder, for other files than the rows, such as a checkpoint's model.

        The caller may replace files of an earlier commit. So from here on the partition is not complete until
        `commit`. Its earlier version is kept in its history. Files there are hard links to the files here, so
        a file has to be replaced, and must not be overwritten in place.
        """
        keep(self._folder)
        remove(self._folder / MANIFEST)
        return self._folder

    def commit(
        self,
        rows: Iterable[Row],
        counts: Mapping[str, Count],
        identity: Identity | None = None,
    ) -> Manifest:
        """Write `rows`, then the manifest. After this the partition is complete.

        Rows are read, checked and written in blocks, so that they need not fit in memory. `counts` are
        the stage's outcomes, tokens and rates; an expression is computed over the written rows.
        `identity` is given if it has changed since the writing began.
        If this is killed at any moment, the partition is as it was or not complete. There is never a manifest
        that does not match the rows.

        Raises:
            ValueError: a row does not fit the schema, or an id is empty or not unique.
            DiskFull: there was no space.
        """
        data, manifest_file = self._folder / DATA, self._folder / MANIFEST

        def write(path: Path) -> tuple[Written, dict[str, int | float]]:
            return write_parquet(path, self._table, rows), evaluate_counts(path, counts)

        def before_replacing() -> None:
            keep(self._folder)
            remove(manifest_file)

        written, evaluated = write_whole(data, write, before_replacing=before_replacing)
        manifest = Manifest(
            **self._provenance | ({"identity": identity} if identity else {}),
            rows=written.rows,
            content_hash=written.content_hash,
            parquet_sha256=written_digest(data),
            links=write_links(self._folder, self._table, data),
            counts=evaluated,
            created_at=datetime.now(UTC),
        )
        manifest.save(manifest_file)
        return manifest


class ArtifactStore:
    """The tables of one experiment.

    Raises:
        OldLayout: its tables were made by an earlier version.
    """

    def __init__(self, home: Path, experiment: str) -> None:
        self.home, self.experiment = home, _checked_name("experiment", experiment)
        below = home / experiment
        # Before 2026-11-26 D_exp was the table `demonstrations`, made of the unpartitioned
        # `expert_trajectories`.
        if (below / "demonstrations").is_dir() or (below / "expert_trajectories" / MANIFEST).exists():
            raise OldLayout(below)

    def folder(self, table: str, iteration: str | None) -> Path:
        """The folder of a partition, below `$SAND_HOME`; it need not exist.

        Raises:
            ValueError: there is no such table, or `iteration` is not two or more digits for a partitioned
                table, or not None for another.
        """
        below = self.home / self.experiment / _table(table).name
        if not _table(table).partitioned:
            if iteration is not None:
                raise ValueError(
                    f"table {table} has no iterations, but iteration {iteration!r} was requested"
                )
            return below
        if iteration is None or not _ITERATION.fullmatch(iteration):
            raise ValueError(f"an iteration of {table} is two digits such as 01, found {iteration!r}")
        return below / f"iteration={iteration}"

    def manifest(self, table: str, iteration: str | None) -> Manifest | None:
        """The partition's manifest, or None if it is not complete.

        Raises:
            TornArtifact: the manifest cannot be read.
        """
        return Manifest.load(self.folder(table, iteration) / MANIFEST)

    def require(self, table: str, iteration: str | None) -> Manifest:
        """The partition's manifest.

        Raises:
            MissingArtifact: it is not complete.
            TornArtifact: the manifest cannot be read.
        """
        manifest = self.manifest(table, iteration)
        if manifest is None:
            raise MissingArtifact(self.experiment, table, iteration, self.folder(table, iteration))
        return manifest

    def read(self, table: str, iteration: str | None) -> pl.DataFrame:
        """The partition's rows, in the order in which they were committed.

        Raises:
            MissingArtifact: it is not complete.
            TornArtifact: the file is gone, or is not the one that the manifest was written for.
        """
        return self.scan(table, iteration).collect()

    def scan(self, table: str, iteration: str | None) -> pl.LazyFrame:
        """As `read`, but lazy: for when only some rows or columns are needed."""
        data = self.data(table, iteration)
        rows = scan_parquet(data)
        schema = dict(rows.collect_schema())
        if schema != _table(table).schema:
            raise TornArtifact(data, "the columns of this version's schema", f"{schema}")
        return rows

    def data(self, table: str, iteration: str | None) -> Path:
        """The file with the partition's rows, after a check that its manifest was written for it.

        Raises:
            MissingArtifact, TornArtifact: as `read`.
        """
        return self.require(table, iteration).checked(self.folder(table, iteration) / DATA)

    def journal(self, table: str, iteration: str | None) -> JournalReader:
        """The units in the partition's journal, read only."""
        return JournalReader(self.folder(table, iteration) / JOURNAL)

    def mend_journal(self, table: str, iteration: str | None) -> int:
        """Take the damaged lines out of a partition's journal; returns how many there were.

        For a complete partition, whose rows do not need them. A journal that has not changed since it was
        last looked at is not read again.

        Raises:
            PartitionBusy: another process writes the partition.
            DiskFull: there was no space for the journal without them.
        """
        path = self.folder(table, iteration) / JOURNAL

        def look() -> str:
            lines, torn = damaged_lines(path)
            return str(len(lines) + torn)

        damaged = int(remembered_finding(path, "damaged lines", look)) if path.exists() else 0
        if damaged:
            with _locked(path.with_name(LOCK), "to mend its journal"), Journal(path):
                pass  # a journal drops them when it is opened to be written
        return damaged

    def mend_links(self, table: str, iteration: str | None) -> list[str]:
        """Write again the files of ids beside a complete partition's rows that are gone or altered.

        Returns the names of those that are now as recorded. One that this version of Arrow writes otherwise
        is removed instead; then the rows are used.

        Raises:
            MissingArtifact, TornArtifact: as `read`.
            PartitionBusy: another process writes the partition.
            DiskFull: there was no space.
        """
        folder, recorded = self.folder(table, iteration), self.require(table, iteration).links

        def wrong() -> set[str]:
            return {
                name
                for name, sha256 in recorded.items()
                if not (folder / name).exists() or remembered_digest(folder / name) != sha256
            }

        before = wrong()
        if not before:
            return []
        with _locked(folder / LOCK, "to mend its ids"):
            write_links(folder, _table(table), self.data(table, iteration))
            for name in (still := wrong()):
                remove(folder / name)
        return sorted(before - still)

    def being_written(self, table: str, iteration: str | None) -> bool:
        """Whether a process has the partition open for writing."""
        try:
            with (self.folder(table, iteration) / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def iterations(self, table: str) -> list[str]:
        """The complete iterations of `table`, in order."""
        below = self.home / self.experiment / _table(table).name
        found = (
            path.parent.name.removeprefix("iteration=") for path in below.glob(f"iteration=*/{MANIFEST}")
        )
        return sorted(filter(_ITERATION.fullmatch, found))

    @contextmanager
    def writing(
        self,
        table: str,
        iteration: str | None,
        *,
        inputs: Mapping[str, Manifest],
        identity: Identity,
        seed: int,
        run_id: str,
        fresh: bool = False,
    ) -> Iterator[PartitionWriter]:
        """A partition to write. Only this process can write it.

        `inputs` are the manifests of its inputs, `identity` is everything else that decides its rows.
        With `fresh` the journal is emptied first. Without a commit, the earlier rows and the journal stay.

        Raises:
            PartitionBusy: another process is writing it.
        """
        folder = self.folder(table, iteration)
        folder.mkdir(parents=True, exist_ok=True)
        provenance = {
            "table": table,
            "experiment": self.experiment,
            "iteration": iteration,
            "inputs": {name: manifest.content_hash for name, manifest in inputs.items()},
            "identity": identity,
            "versions": package_versions(),
            "run_id": run_id,
            "seed": seed,
        }
        with _locked(folder / LOCK, run_id):
            if fresh:
                remove(folder / JOURNAL)
            with Journal(folder / JOURNAL) as journal:
                yield PartitionWriter(folder, _table(table), journal, provenance)


@contextmanager
def _locked(path: Path, run_id: str) -> Iterator[None]:
    """Hold the lock file `path`, which says who does and since when; it is freed when the process ends."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise PartitionBusy(_who_holds(path.parent, file.read())) from None
        file.truncate(0)
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        file.write(json.dumps({"pid": os.getpid(), "run_id": run_id, "since": since}))
        file.flush()
        yield
        file.truncate(0)


def _who_holds(folder: Path, note: str) -> str:
    try:
        holder = json.loads(note)
        who = f"process {holder['pid']} (run {holder['run_id']}) since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return f"{folder} is being written by {who}. Wait until it has ended, or end it, then try again."


def _table(name: str) -> Table:
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    return TABLES[name]


def _checked_name(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name of an {what} is letters, digits, '.', '_' and '-', found {name!r}")
    return name
