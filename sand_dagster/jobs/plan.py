"""What a run would do, and why: stage by stage, before anything is done."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from sand_dagster.artifacts.identity import short
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.assets import stages_of
from sand_dagster.assets.definition import Source, StageDefinition
from sand_dagster.assets.progress import StageProgress
from sand_dagster.assets.run import StageRun
from sand_dagster.assets.stored_model import stored_model
from sand_dagster.errors import ArtifactError, TornArtifact, TornModel
from sand_dagster.execution.units import Trial
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.resources.environments import EnvironmentWorkers
from sand_dagster.resources.generation import Generation
from sand_dagster.resources.training import Training
from sand_dagster.rows.models import CheckpointRow

NOT_MADE = "not made yet"
_UPSTREAM = "upstream: "
_FEW = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Planned:
    """A stage in one iteration: complete, or to be run for the `reasons`.

    `journalled` and `to_do` are its units; None where it has none, or where what they come from is itself
    to be made first.
    """

    stage: str
    iteration: str | None
    reasons: tuple[str, ...]
    journalled: int | None = None
    to_do: int | None = None

    @property
    def complete(self) -> bool:
        """Whether there is nothing to do."""
        return not self.reasons

    @property
    def own_reasons(self) -> tuple[str, ...]:
        """The reasons that are not just that something before it is to be made again."""
        return tuple(reason for reason in self.reasons if not reason.startswith(_UPSTREAM))


def plan(
    experiment: Experiment,
    store: ArtifactStore,
    instance: dg.DagsterInstance | None,
    until: str,
    *,
    counted: bool = True,
) -> list[Planned]:
    """The stages of iterations 00 to `until`, those without iterations first.

    With an `instance`, a partition has to be recorded there as it is on disk. Units are counted unless nobody
    wants to know: that renders the prompt of each. Nothing is changed, fetched or started.
    """
    planner = _Planner(experiment, store, instance, counted)
    definitions = stages_of(experiment)
    iterations = experiment.partitions[: experiment.partitions.index(until) + 1]
    for definition in definitions:
        if not definition.partitioned:
            planner.add(definition, None)
    for iteration in iterations:
        for definition in definitions:
            if definition.partitioned:
                planner.add(definition, iteration)
    return planner.planned


class _Planner:
    def __init__(
        self,
        experiment: Experiment,
        store: ArtifactStore,
        instance: dg.DagsterInstance | None,
        counts: bool,
    ) -> None:
        self._experiment, self._store, self._instance = experiment, store, instance
        self._counts = counts
        self.planned: list[Planned] = []
        self._pending: set[tuple[str, str | None]] = set()

    def add(self, definition: StageDefinition, iteration: str | None) -> None:
        """Plan a stage; those that it reads of this experiment have been planned before."""
        reasons = tuple(self._reasons(definition, iteration))
        if not reasons:
            self.planned.append(Planned(definition.name, iteration, ()))
            return
        self._pending.add((definition.name, iteration))
        counted = self._counted(definition, iteration)
        units = (None, None) if counted is None else (counted.journalled, counted.to_do)
        self.planned.append(Planned(definition.name, iteration, reasons, *units))

    def _upstream(self, definition: StageDefinition, iteration: str | None) -> list[str]:
        """What it reads that is to be made first."""
        return [
            source.name
            for source in definition.sources(self._experiment, iteration)
            if source.experiment == self._experiment.name
            and (source.table, source.partition) in self._pending
        ]

    def _reasons(self, definition: StageDefinition, iteration: str | None) -> Iterator[str]:
        store, experiment = self._store, self._experiment
        try:
            manifest = store.manifest(definition.name, iteration)
        except TornArtifact as error:
            yield f"damaged: {error.file.name}"
            return
        if manifest is None:
            yield NOT_MADE
            return
        differences = manifest.identity.differences(definition.identity(experiment, store.home, iteration))
        yield from differences
        try:
            store.scan(definition.name, iteration)
        except TornArtifact as error:
            # A table of other columns was not damaged: its schema was changed, which has been said.
            if f"code: {definition.columns}" not in differences:
                yield f"damaged: {error.file.name}"
                return
        upstream = self._upstream(definition, iteration)
        yield from self._changed_inputs(definition, iteration, manifest, upstream)
        yield from (f"{_UPSTREAM}{name}" for name in upstream)
        if definition.name == "checkpoints" and not _model_is_whole(store, manifest, iteration):
            yield "damaged: the model's files"
        if self._instance is not None:
            recorded = _recorded_version(self._instance, experiment, definition.name, iteration)
            if recorded is None:
                yield "unknown to this Dagster instance"
            elif recorded != manifest.content_hash:
                yield f"Dagster recorded {short(recorded)}, on disk is {short(manifest.content_hash)}"

    def _changed_inputs(
        self, definition: StageDefinition, iteration: str | None, manifest: Manifest, upstream: list[str]
    ) -> Iterator[str]:
        sources = {source.name: source for source in definition.sources(self._experiment, iteration)}
        for name in sorted((sources.keys() | manifest.inputs.keys()) - set(upstream)):
            before, now = manifest.inputs.get(name), self._content(sources.get(name))
            if before != now:
                yield f"input: {name} {short(before)} → {short(now)}"

    def _content(self, source: Source | None) -> str | None:
        """The content hash of a partition; None where there is none that can be read."""
        if source is None:
            return None
        try:
            found = source.store(self._store.home).manifest(source.table, source.partition)
        except ArtifactError:
            return None
        return found.content_hash if found else None

    def _counted(self, definition: StageDefinition, iteration: str | None) -> Trial | None:
        """The stage's units; None where it has none, or what they come from is to be made first."""
        if not self._counts or self._upstream(definition, iteration):
            return None
        try:
            return count_units(definition, self._experiment, self._store, self._instance, iteration)
        except ArtifactError:
            return None


def count_units(
    definition: StageDefinition,
    experiment: Experiment,
    store: ArtifactStore,
    instance: dg.DagsterInstance | None,
    iteration: str | None,
) -> Trial | None:
    """How many units a stage has, and how many of them its journal holds; None where it has no units.

    The stage's own code says which units there are; none is worked, and no engine or environment starts.

    Raises:
        ArtifactError: what the stage reads is not complete.
    """
    if not definition.counted:
        return None
    definition.inputs(experiment, store, iteration)
    trial = Trial(0)
    run = StageRun(
        experiment=experiment,
        iteration=iteration,
        identity=definition.identity(experiment, store.home, iteration).key,
        store=store,
        journal=store.journal(definition.name, iteration),
        writer=None,
        progress=StageProgress(definition.name, iteration),
        instance=instance or dg.DagsterInstance.ephemeral(),
        log=_log,
        environments=EnvironmentWorkers(),
        generation=Generation(),
        training=Training(),
        trial=trial,
    )
    definition.body(run)
    return trial


def _model_is_whole(store: ArtifactStore, manifest: Manifest, iteration: str | None) -> bool:
    """Whether the checkpoint's folder holds the model that was recorded."""
    if not manifest.rows:
        return True
    (checkpoint,) = rows_of(store, CheckpointRow, iteration)
    try:
        stored_model(store.home, checkpoint, store.experiment, iteration)
    except TornModel:
        return False
    return True


def _recorded_version(
    instance: dg.DagsterInstance, experiment: Experiment, stage: str, partition: str | None
) -> str | None:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            dg.AssetKey([experiment.name, stage]), asset_partitions=[partition] if partition else None
        ),
        limit=1,
    ).records
    if not records or records[0].asset_materialization is None:
        return None
    return (records[0].asset_materialization.tags or {}).get("dagster/data_version")


def few(reasons: Sequence[str]) -> str:
    """The first few reasons on one line; all of them are in what programs read."""
    more = len(reasons) - _FEW
    return "; ".join(reasons[:_FEW]) + (f"; and {more} more" if more > 0 else "")


def stale_scores(planned: list[Planned]) -> dict[str, str]:
    """Why the scores of an iteration do not stand on what there is now, by iteration; none for the others."""
    stale: dict[str, str] = {}
    first = ""
    for each in planned:
        if each.own_reasons and not first:
            first = f"{each.stage}{f' {each.iteration}' if each.iteration else ''}: {each.own_reasons[0]}"
        if each.stage == "eval_scores" and each.iteration and each.reasons and each.reasons != (NOT_MADE,):
            stale[each.iteration] = first or each.reasons[0]
    return stale
