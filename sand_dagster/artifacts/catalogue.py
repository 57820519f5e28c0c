"""Manifests as rows: every version of every partition of all experiments, and its inputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from sand_dagster.artifacts.history import Version, all_versions, experiments_in
from sand_dagster.artifacts.schemas import TABLES

MANIFESTS = {
    "experiment": "whose table it is",
    "table": "the table",
    "iteration": "the partition; null if the table has none",
    "current": "whether it is the current version; others are kept in the history",
    "rows": "how many rows it has",
    "content_hash": "of the rows, however they are stored",
    "parquet_sha256": "of the file",
    "identity": "hash of all that decides the rows, apart from the tables that were read",
    "config": "JSON: the experiment's fields that the stage read",
    "code": "JSON: source files, prompts and templates, with their hashes",
    "packages": "JSON: the packages that decide the rows, with their versions",
    "counts": "JSON: outcomes, tokens and rates of the stage",
    "run_id": "the Dagster run that wrote it",
    "seed": "the experiment's seed",
    "created_at": "when it was complete",
}

INPUTS = {
    "experiment": "whose table was made",
    "table": "the table that was made",
    "iteration": "its partition; null if the table has none",
    "current": "whether it is the current version",
    "content_hash": "of the table that was made",
    "input_experiment": "whose table was read",
    "input_table": "the table that was read",
    "input_iteration": "its partition; null if the table has none",
    "input_hash": "content hash of the table that was read",
    "input_hash_now": "its content hash now; null if it is gone",
    "fresh": "whether these two are the same",
}


def input_place(name: str, experiment: str, iteration: str | None) -> tuple[str, str, str | None]:
    """Experiment, table and partition that the name of a manifest's input stands for: `critiques`,
    `checkpoints 00` (of the iteration before), or `household/checkpoints` (of the same iteration of another
    experiment)."""
    owner, _, rest = name.rpartition("/")
    table, _, named = rest.partition(" ")
    partitioned = table in TABLES and TABLES[table].partitioned
    return owner or experiment, table, (named or iteration) if partitioned else None


def manifests_frame(home: Path) -> pl.DataFrame:
    """The columns of `MANIFESTS`, a row for each version."""
    rows: list[dict[str, Any]] = []
    for version in _versions(home):
        manifest = version.manifest
        identity = manifest.identity
        rows.append(
            {
                **manifest.model_dump(include=set(MANIFESTS) - {"identity", "counts"}),
                "current": version.current,
                "identity": identity.key,
                "config": _json(dict(identity.config)),
                "code": _json(dict(identity.code)),
                "packages": _json(dict(identity.packages)),
                "counts": _json(dict(manifest.counts)),
            }
        )
    types: dict[str, Any] = {"current": pl.Boolean, "rows": pl.Int64, "seed": pl.Int64}
    types["created_at"] = pl.Datetime("us", "UTC")
    return pl.DataFrame(rows, schema={name: types.get(name, pl.String) for name in MANIFESTS})


def inputs_frame(home: Path) -> pl.DataFrame:
    """The columns of `INPUTS`, a row for each table that a version was made from."""
    kept = list(_versions(home))
    now = {
        (v.manifest.experiment, v.manifest.table, v.manifest.iteration): v.manifest.content_hash
        for v in kept
        if v.current
    }
    rows: list[dict[str, Any]] = []
    for version in kept:
        made = version.manifest
        for name, read in made.inputs.items():
            place = input_place(name, made.experiment, made.iteration)
            rows.append(
                {
                    **made.model_dump(include={"experiment", "table", "iteration", "content_hash"}),
                    "current": version.current,
                    **dict(zip(("input_experiment", "input_table", "input_iteration"), place, strict=True)),
                    "input_hash": read,
                    "input_hash_now": now.get(place),
                    "fresh": now.get(place) == read,
                }
            )
    types: dict[str, Any] = {"current": pl.Boolean, "fresh": pl.Boolean}
    return pl.DataFrame(rows, schema={name: types.get(name, pl.String) for name in INPUTS})


def _versions(home: Path) -> Iterator[Version]:
    return (
        version
        for experiment in experiments_in(home)
        for kept in all_versions(home, experiment).values()
        for version in kept
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
