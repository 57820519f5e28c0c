"""What all stages share: a Dagster asset that reads tables, calls `sand/`, and commits one table."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import dagster as dg

from sand_dagster.artifacts.errors import ArtifactError
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.parquet import Count
from sand_dagster.artifacts.recorded import stored_tasks
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore, PartitionWriter
from sand_dagster.artifacts.stored_rows import StoredRows
from sand_dagster.assets.metadata import column_schema, describe
from sand_dagster.assets.progress import StageProgress, tell
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.experiment import Experiment
from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.environments import EnvironmentWorkers
from sand_dagster.resources.generation import Generation
from sand_dagster.resources.training import Training
from sand_dagster.sand.interfaces import Generator
from sand_dagster.sand.play import Agent
from sand_dagster.sand.trajectories import Demonstration, demonstrations_of
from sand_dagster.sand.types import Task, Trajectory
from sand_dagster.sand.units import Finished, Row, Stage

GPU_POOL = "gpu"
INITIALISATION = "00"
_OWNER = "team:sand"
_LOG_EVERY_S = 10.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Result:
    """A stage's rows, gone through once, and what it counted; an expression is taken over the rows."""

    rows: Iterable[Row]
    counts: Mapping[str, Count] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, finished: Finished, **counts: Count) -> Self:
        """The rows of all units in order, their outcomes, and `counts`."""
        return cls(chain.from_iterable(finished.rows), {**finished.outcomes, **counts})


@dataclass(frozen=True)
class StageRun:
    """One materialisation: the experiment, the partition, and everything a stage works with."""

    experiment: Experiment
    iteration: str | None
    store: ArtifactStore
    writer: PartitionWriter
    progress: StageProgress
    context: dg.AssetExecutionContext
    environments: EnvironmentWorkers
    generation: Generation
    training: Training

    @property
    def number(self) -> int:
        """k"""
        return int(self.iteration or 0)

    @property
    def stage(self) -> Stage:
        """What `sand/` needs of this run."""
        return Stage(
            self.writer.journal,
            self.experiment.generation.in_flight,
            self.progress.units,
            self.iteration or "",
            self.experiment.seed,
        )

    def rows(self, table: str, iteration: str | None = None) -> StoredRows:
        """A table's rows: of this iteration, unless another is named."""
        partition = (iteration or self.iteration) if TABLES[table].partitioned else None
        return StoredRows(self.store.scan(table, partition))

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """All tasks by id."""
        return stored_tasks(self.store)

    @cached_property
    def demonstrations(self) -> list[Demonstration]:
        """D_exp of this iteration."""
        return demonstrations_of(self.rows("demonstrations"))

    @cached_property
    def example(self) -> Trajectory | None:
        """The one shot of the `eto` protocol: the expert's first trajectory."""
        if self.experiment.protocol == "paper":
            return None
        first = demonstrations_of(self.rows("expert_trajectories"))[0]
        return first.trajectory(self.tasks[first.task_id])

    def pool(self) -> EnvironmentPool:
        """Environments on worker processes."""
        return self.environments.pool(self.experiment, self.store.home)

    @asynccontextmanager
    async def base(self) -> AsyncIterator[Generator]:
        """The frozen base model π_base."""
        row = self.rows("base_model")[0]
        async with self.generation.model(
            self.experiment, self.experiment.generation.base, Path(row["folder"]), self.iteration
        ) as model:
            yield model

    @asynccontextmanager
    async def agent(self, agent_id: str, folder: str) -> AsyncIterator[Agent]:
        """A policy, or a checkpoint, that acts."""
        path = self.store.home / folder
        async with self.generation.model(
            self.experiment, self.experiment.generation.policy, path, self.iteration
        ) as model:
            domain = self.experiment.environment.module.DOMAIN
            yield Agent(agent_id, model, domain, self.experiment.generation.turn_tokens, self.example)

    @asynccontextmanager
    async def policy(self) -> AsyncIterator[Agent]:
        """π_k."""
        row = self.rows("policy")[0]
        async with self.agent(row["policy_id"], row["folder"]) as agent:
            yield agent

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
            self.context.log.info(self.progress.line())


Body = Callable[[StageRun], Result]


class Source(NamedTuple):
    """A partition that a stage reads; `name` is what it goes by in the manifest's inputs."""

    name: str
    experiment: str
    table: str
    partition: str | None

    def store(self, home: Path) -> ArtifactStore:
        """The tables that it is one of."""
        return ArtifactStore(home, self.experiment)


@dataclass(frozen=True, slots=True)
class StageDefinition:
    """A stage before it belongs to an experiment.

    `after` are the assets drawn before it in the graph; `reads` all tables that it reads, of which its
    manifest records the content hashes. `settings` are the experiment's fields that determine its rows.
    """

    name: str
    body: Body
    after: tuple[str, ...]
    reads: tuple[str, ...]
    settings: tuple[str, ...]
    kinds: frozenset[str]
    gpu: bool

    def partition(self, iteration: str) -> str | None:
        """The partition that belongs to `iteration`; None for a table that has no partitions."""
        return iteration if TABLES[self.name].partitioned else None

    def config(self, experiment: Experiment) -> dict[str, Any]:
        """The part of the experiment that determines this stage's rows."""
        dumped = experiment.model_dump(mode="json")
        return {name: _field(dumped, name) for name in self.settings}

    def inputs(
        self, experiment: Experiment, store: ArtifactStore, iteration: str | None
    ) -> dict[str, Manifest]:
        """The manifests of what it reads.

        Raises:
            MissingArtifact: one of them is not there yet.
        """
        return {
            source.name: source.store(store.home).require(source.table, source.partition)
            for source in self.sources(experiment, iteration)
        }

    def sources(self, experiment: Experiment, iteration: str | None) -> list[Source]:
        """What it reads in `iteration`. `@previous` closes the loop, `@control_for` reads a neighbour.

        `@eto` marks what only that protocol reads.
        """
        sources: list[Source] = []
        for name in self.reads:
            table, _, where = name.partition("@")
            if not TABLES[table].partitioned:
                sources.append(Source(name, experiment.name, table, None))
            elif not where:
                sources.append(Source(name, experiment.name, table, iteration))
            elif iteration is None or iteration == INITIALISATION:
                continue
            elif where == "previous":
                sources.append(Source(name, experiment.name, table, f"{int(iteration) - 1:02}"))
            else:
                assert experiment.control_for is not None
                sources.append(Source(name, experiment.control_for, table, iteration))
        return sources


def _field(dumped: dict[str, Any], path: str) -> Any:
    value: Any = dumped
    for part in path.split("."):
        value = value[part]
    return value


def stage(
    *,
    after: tuple[str, ...] = (),
    reads: tuple[str, ...] = (),
    settings: tuple[str, ...] = (),
    kinds: frozenset[str] = frozenset(),
    gpu: bool = False,
) -> Callable[[Body], StageDefinition]:
    """Make a function a stage; its name is the asset's, its docstring the asset's description."""

    def decorate(body: Body) -> StageDefinition:
        return StageDefinition(body.__name__, body, after, (*after, *reads), settings, kinds, gpu)

    return decorate


def asset_of(
    definition: StageDefinition, experiment: Experiment, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    """The Dagster asset of a stage in one experiment."""
    table = TABLES[definition.name]

    @dg.asset(
        key=[experiment.name, definition.name],
        deps=[dg.AssetKey([experiment.name, name]) for name in definition.after],
        partitions_def=partitions if table.partitioned else None,
        group_name=experiment.group,
        description=definition.body.__doc__,
        kinds=set(definition.kinds),
        owners=[_OWNER],
        code_version="1",
        pool=GPU_POOL if definition.gpu else None,
        metadata={"dagster/column_schema": column_schema(table), "row": table.row},
    )
    def materialise(
        context: dg.AssetExecutionContext,
        artifacts: Artifacts,
        environments: EnvironmentWorkers,
        generation: Generation,
        training: Training,
    ) -> dg.MaterializeResult[None]:
        iteration = context.partition_key if table.partitioned else None
        store = artifacts.store(experiment.name)
        progress = StageProgress(definition.name, iteration)
        try:
            with store.writing(
                definition.name,
                iteration,
                inputs=definition.inputs(experiment, store, iteration),
                config=definition.config(experiment),
                seed=experiment.seed,
                run_id=context.run_id,
            ) as writer:
                run = StageRun(
                    experiment=experiment,
                    iteration=iteration,
                    store=store,
                    writer=writer,
                    progress=progress,
                    context=context,
                    environments=environments,
                    generation=generation,
                    training=training,
                )
                tell(progress, ended=False)
                result = definition.body(run)
                manifest = writer.commit(result.rows, result.counts)
        except ArtifactError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        tell(progress, ended=True)
        return dg.MaterializeResult(
            data_version=dg.DataVersion(manifest.content_hash),
            metadata=describe(table, store.scan(table.name, iteration), manifest) | result.metadata,
        )

    return materialise
