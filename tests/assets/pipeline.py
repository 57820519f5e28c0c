"""A whole experiment in a second: real Dagster, stages, games and tables; scripted models and training.

For tests that run many times. The real engines run in tests/e2e.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets import stages_of
from sand_dagster.assets.asset import asset_of
from sand_dagster.assets.definition import StageDefinition
from sand_dagster.environments import environment_kind
from sand_dagster.experiments.experiment import Endpoint, Experiment
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.fingerprints import file_digest
from sand_dagster.models.model_folder import model_id
from sand_dagster.models.settings import Checkpoint
from sand_dagster.models.stats import GenerationStats
from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.environments import EnvironmentWorkers
from sand_dagster.resources.generation import Generation
from sand_dagster.resources.loop import Loop
from sand_dagster.resources.training import Training
from sand_dagster.training.job import Progress, Report
from sand_dagster.training.trainer import write_report
from sand_dagster.types import Completion, Message, Sampling, Step, StepResult, Task

NAME = "small"
SMALL = """\
description: as small as it can be
extends: household
iterations: 2
environment: {kind: household, train: 1, seen: 1, unseen: 1}
model: {base: MODEL}
generation: {max_new_tokens: 300}
sampling: {n: 2}
deliberation: {constrain_to_candidates: false, require_expert_action: false}
finetuning: {epochs: [1, 1, 2]}
"""

ITERATION = [
    "expert_trajectories",
    "policy",
    "candidate_actions",
    "rollouts",
    "critiques",
    "deliberation_trajectories",
    "checkpoints",
    "eval_episodes",
    "eval_scores",
]
"""The stages of an iteration, in order."""

FINETUNED: list[dict[str, Any]] = []
"""The arguments of each finetuning."""

ASKED: list[str] = []
"""The first word of every prompt."""


class Scripted(Generation):
    """Models that answer immediately; two samples of a turn differ."""

    def release(self) -> None: ...

    @asynccontextmanager
    async def model(
        self, experiment: Experiment, endpoint: Endpoint | None, folder: Path, checkpoint: Checkpoint | None
    ) -> AsyncIterator[_Model]:
        yield _Model(endpoint.served_name(checkpoint) if endpoint else model_id(folder))


@dataclass(frozen=True)
class _Model:
    model_id: str

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        last = messages[-1]["content"]
        ASKED.append(last.split()[0])
        text = f"Thought: I look.\nAction: {'look' if sampling.seed % 2 else 'inventory'}"
        if "Action Evaluation" in last:
            text = "Action Evaluation: it changes nothing."
        elif "{expert_action}" in last or "scratch" in last.lower():
            text = "Thought: I can choose.\n\n- look: no.\n- inventory: no.\n\nI take the other."
        return Completion(text, 10, 5, "stop")

    def stats(self) -> GenerationStats:
        return GenerationStats()


class Finetuning(Training):
    """Writes a model that cannot run; an epoch has the given number of tokens."""

    tokens: int = 5

    def finetune(
        self,
        experiment: Experiment,
        conversations: Any,
        *,
        parent: Path,
        output: Path,
        seed: int,
        epochs: int,
        rejected: Any = None,
        **_: Any,
    ) -> Report:
        ASKED.append("finetune")
        shutil.rmtree(output, ignore_errors=True)
        FINETUNED.append(
            {"parent": parent, "epochs": epochs, "conversations": conversations, "rejected": rejected}
        )
        write_model(output, f"{seed} {epochs}")
        point = Progress(step=1, steps=1, epoch=1.0, loss=0.5, learning_rate=1e-5, tokens_per_second=9.0)
        report = Report(
            examples=1,
            dropped=[],
            truncated=[],
            tokens=9,
            trained_tokens=self.tokens * epochs,
            epochs=epochs,
            seed=seed,
            seconds=1.0,
            device="cpu",
            dtype="float32",
            loss_curve=[point],
            versions={},
            files={path.name: file_digest(path) for path in output.iterdir()},
            model_id=model_id(output),
            per_device_batch_size=experiment.finetuning.batch_size,
        )
        write_report(output, report)
        return report


def write_model(folder: Path, content: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(content)


class InProcess(EnvironmentWorkers):
    """The real environment, in this process."""

    def pool(self, experiment: Experiment, home: Path) -> Any:
        return _Pool(experiment, home)


@dataclass
class _Pool:
    experiment: Experiment
    home: Path
    opened: list[Any] = field(default_factory=list)

    async def __aenter__(self) -> _Pool:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def open(self, task: Task, prefix: Sequence[Step] = ()) -> _Episode:
        section = self.experiment.environment
        episode = _Episode(environment_kind(section.kind).make(section.options, self.home))
        episode.instruction = episode.environment.reset(task)
        for step in prefix:
            assert episode.environment.step(step.action).observation == step.observation
        return episode


@dataclass
class _Episode:
    environment: Any
    instruction: str = ""

    async def step(self, action: str) -> StepResult:
        result: StepResult = self.environment.step(action)
        return result

    async def close(self) -> None:
        self.environment.close()


@dataclass
class Pipeline:
    """An experiment in its own `$SAND_HOME`."""

    home: Path
    instance: dg.DagsterInstance
    name: str = NAME

    def __post_init__(self) -> None:
        if self.name != NAME:
            return
        (self.home / "experiments").mkdir(parents=True, exist_ok=True)
        write_model(self.home / "base", "base")
        self.configure("")

    def configure(self, more: str) -> None:
        """Add fields to the experiment's file; sections that are already there are merged."""
        text = SMALL.replace("MODEL", str(self.home / "base"))
        (self.home / "experiments" / "small-base.yaml").write_text(text)
        child = f"description: as small as it can be\nextends: small-base\n{more}"
        (self.home / "experiments" / f"{NAME}.yaml").write_text(child)

    @property
    def experiment(self) -> Experiment:
        return load_experiment(self.name, self.home)

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.home, self.name)

    def materialise(
        self,
        *stages: str,
        iteration: str | None = None,
        tokens: int = 5,
        generation: Generation | None = None,
        training: Training | None = None,
        **config: Any,
    ) -> list[str]:
        """Materialise stages (default: all) of an iteration, or those without; returns the models'
        prompts."""
        experiment = self.experiment
        definitions = [
            each
            for each in stages_of(experiment)
            if each.partitioned == (iteration is not None) and (not stages or each.name in stages)
        ]
        ASKED.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SAND_HOME", str(self.home))
            done = self._materialise(
                definitions,
                iteration,
                config,
                generation or Scripted(),
                training or Finetuning(tokens=tokens),
            )
        assert done.success
        return list(ASKED)

    def _materialise(
        self,
        definitions: Sequence[StageDefinition],
        iteration: str | None,
        config: dict[str, Any],
        generation: Generation,
        training: Training,
    ) -> dg.ExecuteInProcessResult:
        partitions = dg.StaticPartitionsDefinition(self.experiment.partitions)
        return dg.materialize(
            [asset_of(each, self.experiment, partitions) for each in definitions],
            partition_key=iteration,
            instance=self.instance,
            resources={
                "artifacts": Artifacts(),
                "environments": InProcess(),
                "generation": generation,
                "loop": Loop(),
                "training": training,
            },
            run_config={
                "ops": {
                    f"{self.name}__{each.name}": {"config": config}
                    for each in definitions
                    if config and each.counted
                },
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
        )


@contextmanager
def finished(folder: Path, more: str = "") -> Iterator[Pipeline]:
    """Iterations 00 and 01 of a small experiment below `folder`, complete; `more` are fields of its file."""
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        pipeline = Pipeline(folder / "home", instance)
        if more:
            pipeline.configure(more)
        pipeline.materialise()
        pipeline.materialise(iteration="00")
        pipeline.materialise(iteration="01")
        yield pipeline
