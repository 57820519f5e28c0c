"""One materialisation of a stage: the experiment, the partition, and everything that a stage works with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import dagster as dg

from sand_dagster.artifacts.parquet import Count
from sand_dagster.artifacts.recorded import stored_tasks
from sand_dagster.artifacts.store import ArtifactStore, PartitionWriter
from sand_dagster.artifacts.stored_rows import StoredRows, rows_of
from sand_dagster.assets.deciding import states_all
from sand_dagster.assets.progress import StageProgress, tell
from sand_dagster.assets.stored_model import stored_model
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.execution.units import Finished, Journal, Stage, Trial
from sand_dagster.experiments.experiment import Endpoint, Experiment
from sand_dagster.interfaces import Generator
from sand_dagster.models.settings import Checkpoint
from sand_dagster.models.stats import GenerationStats
from sand_dagster.resources.environments import EnvironmentWorkers
from sand_dagster.resources.generation import Generation
from sand_dagster.resources.training import Training
from sand_dagster.rows.models import BaseModelRow, CheckpointRow, PolicyRow
from sand_dagster.rows.row import Row
from sand_dagster.rows.steps import DemonstrationRow, ExpertRow
from sand_dagster.sand.episode import Agent
from sand_dagster.sand.trajectories import Demonstration, demonstrations_of
from sand_dagster.types import Task, Trajectory

_LOG_EVERY_S = 10.0
R = TypeVar("R", bound=Row)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """A stage's rows, gone through once, and what it counted; an expression is taken over the rows."""

    rows: Iterable[Row]
    counts: Mapping[str, Count] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    reused: int = 0
    """Units that the journal held."""

    @classmethod
    def of(cls, finished: Finished[Any], **counts: Count) -> Self:
        """The rows of all units in order, their outcomes, and `counts`."""
        rows = chain.from_iterable(finished.rows)
        return cls(rows, {**finished.outcomes, **counts}, reused=finished.reused)


@dataclass(frozen=True)
class StageRun:
    """One materialisation, or with a `trial` a part of one that commits nothing."""

    experiment: Experiment
    iteration: str | None
    identity: str
    """The key of the stage's identity."""
    store: ArtifactStore
    journal: Journal
    writer: PartitionWriter | None
    """None in a trial that only counts."""
    progress: StageProgress
    instance: dg.DagsterInstance
    log: logging.Logger
    environments: EnvironmentWorkers
    generation: Generation
    training: Training
    trial: Trial | None = None
    context: dg.AssetExecutionContext | None = None
    """Dagster's, in a run; none in a plan."""
    generated: list[GenerationStats] = field(default_factory=list)
    """What each model did for this stage, once it is done."""

    @property
    def number(self) -> int:
        """k"""
        return int(self.iteration or 0)

    @property
    def stage(self) -> Stage:
        """What `sand/` needs of this run."""
        return Stage(
            journal=self.journal,
            max_concurrency=self.generation.max_concurrency,
            progress=self.progress.units,
            iteration=self.iteration or "",
            seed=self.experiment.seed,
            identity=self.identity,
            trial=self.trial,
        )

    @property
    def folder(self) -> Path:
        """The partition's folder, to look at; `writer.folder` is for writing into."""
        return self.store.folder(self.progress.stage, self.iteration)

    def rows(self, kind: type[R], iteration: str | None = None) -> StoredRows[R]:
        """The rows of a `kind`: of this iteration, unless another is named."""
        return rows_of(self.store, kind, iteration or self.iteration)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """All tasks by id."""
        return stored_tasks(self.store)

    @cached_property
    def demonstrations(self) -> list[Demonstration]:
        """D_exp of this iteration."""
        stated = self.experiment.environment.module.DOMAIN if states_all(self.experiment) else None
        return demonstrations_of(self.rows(DemonstrationRow), stated)

    @cached_property
    def example(self) -> Trajectory | None:
        """The one shot of the `eto` protocol: the expert's first trajectory."""
        if self.experiment.protocol == "paper":
            return None
        first = demonstrations_of(self.rows(ExpertRow))[0]
        return first.trajectory(self.tasks[first.task_id])

    def pool(self) -> AbstractAsyncContextManager[EnvironmentPool]:
        """Environments on worker processes; none where nothing is played."""
        if self.writer is None:
            return cast("AbstractAsyncContextManager[EnvironmentPool]", nullcontext())
        return self.environments.pool(self.experiment, self.store.home)

    @asynccontextmanager
    async def _model(
        self, endpoint: Endpoint | None, folder: Path, checkpoint: Checkpoint | None
    ) -> AsyncIterator[Generator]:
        async with self.generation.model(self.experiment, endpoint, folder, checkpoint) as model:
            yield model
            self.generated.append(model.stats())

    @asynccontextmanager
    async def base(self) -> AsyncIterator[Generator]:
        """The frozen base model π_base."""
        folder = stored_model(self.store.home, self.rows(BaseModelRow)[0], self.experiment.name, None)
        async with self._model(self.experiment.generation.base, folder, None) as model:
            yield model

    @asynccontextmanager
    async def agent(self, agent_id: str, folder: Path, checkpoint: Checkpoint) -> AsyncIterator[Agent]:
        """A policy that acts, by the `checkpoint` that it is."""
        async with self._model(self.experiment.generation.policy, folder, checkpoint) as model:
            domain = self.experiment.environment.module.DOMAIN
            yield Agent(agent_id, model, domain, self.experiment.generation.max_new_tokens, self.example)

    @asynccontextmanager
    async def policy(self) -> AsyncIterator[Agent]:
        """π_k, which is the checkpoint of iteration k-1 (Algorithm 1, π_k ← π_θ)."""
        policy = self.rows(PolicyRow)[0]
        checkpoint = Checkpoint(policy.checkpoint_id, f"{self.number - 1:02}")
        async with self.agent(policy.policy_id, self.policy_folder(policy), checkpoint) as agent:
            yield agent

    @asynccontextmanager
    async def finetuned(self) -> AsyncIterator[Agent]:
        """π_θ of this iteration, which is evaluated."""
        row = self.rows(CheckpointRow)[0]
        checkpoint = Checkpoint(row.checkpoint_id, str(self.iteration))
        async with self.agent(row.checkpoint_id, self.checkpoint_folder(row), checkpoint) as agent:
            yield agent

    def policy_folder(self, row: PolicyRow) -> Path:
        """Where the model of a row of `policy` lies.

        Raises:
            TornModel: it is not the one that was recorded.
        """
        finetuned_in = f"{self.number - 1:02}" if row.checkpoint_id else None
        return stored_model(self.store.home, row, self.experiment.name, finetuned_in)

    def checkpoint_folder(self, row: CheckpointRow) -> Path:
        """Where the model of a row of this iteration's `checkpoints` lies.

        Raises:
            TornModel: it is not the one that was recorded.
        """
        return stored_model(self.store.home, row, self.experiment.name, self.iteration)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the engines' event loop, telling its progress meanwhile.

        An interrupt of this thread (a run terminated from the UI, Ctrl-C) cancels the work; what the
        journal holds stays.
        """
        return self.generation.run(self._reporting(work))

    async def _reporting(self, work: Coroutine[Any, Any, T]) -> T:
        reporter = asyncio.create_task(self._report_on())
        try:
            return await work
        finally:
            reporter.cancel()

    async def _report_on(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.report()

    def report(self) -> None:
        """Tell the progress now: to listeners always, to the run's log every few seconds."""
        tell(self.progress, ended=False)
        if self.progress.log_is_due(_LOG_EVERY_S):
            self.log.info(self.progress.line())
