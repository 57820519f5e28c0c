"""What a partition was made from, back to the tasks and the base model, by the hashes in the manifests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sand_dagster.artifacts.catalogue import input_place
from sand_dagster.artifacts.history import Version, all_versions, experiments_in
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.store import ArtifactStore

_PUBLIC = (
    "critiques.",
    "deliberation.",
    "environment.kind",
    "evaluation.",
    "finetuning.",
    "generation.max_new_tokens",
    "model.max_model_len",
    "protocol",
    "rollouts.",
    "sampling.",
    "seed",
    "variant",
)
"""The settings that go out with an export. Others may name a folder or a server of this machine."""


class Source(NamedTuple):
    """A partition in the version that was read. `manifest` is None if that version is not kept any more."""

    experiment: str
    table: str
    iteration: str | None
    content_hash: str
    manifest: Manifest | None

    def as_json(self) -> dict[str, Any]:
        """For a file beside an export."""
        made = self.manifest
        return {
            "experiment": self.experiment,
            "table": self.table,
            "iteration": self.iteration,
            "data_version": self.content_hash,
            "rows": None if made is None else made.rows,
            "run": None if made is None else made.run_id,
            "created": None if made is None else made.created_at.isoformat(),
            "inputs": {} if made is None else dict(made.inputs),
        }


def sources(store: ArtifactStore, table: str, iteration: str | None) -> list[Source]:
    """The partition itself, then all that it was made from, each once; the nearest first.

    Raises:
        MissingArtifact: the partition is not complete.
    """
    made = store.require(table, iteration)
    found = [Source(store.experiment, table, iteration, made.content_hash, made)]
    kept = _Kept(store)
    seen = {found[0][:4]}
    for source in found:  # grows while it is read
        for read in kept.inputs(source):
            if read[:4] not in seen:
                seen.add(read[:4])
                found.append(read)
    return found


class _Kept:
    """The versions of all partitions, looked up one experiment at a time."""

    def __init__(self, store: ArtifactStore) -> None:
        self._home = store.home
        self._there = {*experiments_in(store.home)}
        self._versions: dict[str, Mapping[tuple[str, str | None], list[Version]]] = {}

    def inputs(self, source: Source) -> Iterator[Source]:
        if source.manifest is None:
            return
        for name, content_hash in source.manifest.inputs.items():
            experiment, table, iteration = input_place(name, source.experiment, source.iteration)
            versions = self._of(experiment).get((table, iteration), [])
            same = (v.manifest for v in versions if v.manifest.content_hash == content_hash)
            yield Source(experiment, table, iteration, content_hash, next(same, None))

    def _of(self, experiment: str) -> Mapping[tuple[str, str | None], list[Version]]:
        if experiment not in self._there:
            return {}
        if experiment not in self._versions:
            self._versions[experiment] = all_versions(self._home, experiment)
        return self._versions[experiment]


def settings(found: Sequence[Source]) -> dict[str, dict[str, Any]]:
    """The settings that decided each of the partitions, by `table` or `table iteration`."""
    public: dict[str, dict[str, Any]] = {}
    for source in found:
        config = {} if source.manifest is None else source.manifest.identity.config
        if kept := {name: value for name, value in sorted(config.items()) if name.startswith(_PUBLIC)}:
            place = f"{source.table} {source.iteration}" if source.iteration else source.table
            public[place if found[0].experiment == source.experiment else f"{source.experiment}/{place}"] = (
                kept
            )
    return public
