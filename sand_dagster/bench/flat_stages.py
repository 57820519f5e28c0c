"""The flat stages against `vllm.LLM.generate` over the very same prompts, with the same engine settings."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from sand_dagster.bench.recording import Asked, Recorder
from sand_dagster.environments import environment_kind
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.execution.journal import Journal
from sand_dagster.execution.units import Finished, Stage
from sand_dagster.interfaces import Generator
from sand_dagster.models import vllm_engine
from sand_dagster.models.chat import ChatEncoder
from sand_dagster.models.in_process import parameters, prepare
from sand_dagster.models.model_folder import chat_encoder
from sand_dagster.models.settings import GenerationSettings
from sand_dagster.models.vllm_engine import VllmGenerator
from sand_dagster.rows.candidates import CandidateRow, RolloutRow
from sand_dagster.rows.row import Row
from sand_dagster.sand.candidates import sample_candidates
from sand_dagster.sand.critiques import criticise
from sand_dagster.sand.deliberation import deliberate
from sand_dagster.sand.episode import Agent
from sand_dagster.sand.evidence import Evidence
from sand_dagster.sand.rollouts import roll_out
from sand_dagster.sand.settings import (
    CritiqueSettings,
    DeliberationSettings,
    RolloutSettings,
    SamplingSettings,
)
from sand_dagster.sand.trajectories import demonstrations_of, expert_rows, next_demonstrations
from toy_alfworld.model import weights

_KIND = "household"
_CONTEXT = 4096
_TURN_TOKENS, _CRITIQUE_TOKENS, _DELIBERATION_TOKENS = 256, 128, 256

_CARD_SHARE = 0.4
"""Of a GPU's memory for each of the two engines, which are there at the same time."""

ROUNDS = 3
"""How often each stage is measured; the medians are reported."""

R = TypeVar("R", bound=Row)
_Work = Callable[[Stage, Generator], Coroutine[Any, Any, Finished[R]]]


@dataclass(frozen=True, slots=True)
class FlatStage:
    """One stage: median seconds of ours and of the bare engine, over the same completions."""

    stage: str
    prompts: int
    completion_tokens: int
    seconds: float
    bare_seconds: float

    @property
    def rates(self) -> dict[str, float]:
        """Tokens a second, ours and the bare engine's."""
        return {
            "tokens_per_second": self.completion_tokens / self.seconds,
            "bare_tokens_per_second": self.completion_tokens / self.bare_seconds,
        }

    @property
    def share(self) -> float:
        """Our tokens a second over the bare engine's."""
        return self.bare_seconds / self.seconds


class _Bare:
    """`vllm.LLM` as anyone would start it, with our engine's settings."""

    def __init__(self, llm: Any, encoder: ChatEncoder) -> None:
        self._llm, self._encoder = llm, encoder

    @classmethod
    async def start(cls, folder: Path, settings: GenerationSettings) -> _Bare:
        prepare()
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        from vllm import LLM

        arguments = vllm_engine.engine_arguments(folder, _CONTEXT, settings)
        return cls(await asyncio.to_thread(lambda: LLM(**arguments)), chat_encoder(folder, "auto"))

    async def generate(self, asked: Asked) -> tuple[float, list[str]]:
        """Seconds, and the completions; the cache is empty at the start."""
        from vllm import TokensPrompt

        prompts = [TokensPrompt(prompt_token_ids=self._encoder.encode(messages)) for messages, _ in asked]
        wanted = [parameters(sampling) for _, sampling in asked]

        def work() -> tuple[float, list[str]]:
            self._llm.reset_prefix_cache()
            started = time.perf_counter()
            outputs = self._llm.generate(prompts, wanted, use_tqdm=False)
            return time.perf_counter() - started, [output.outputs[0].text for output in outputs]

        return await asyncio.to_thread(work)


class _FlatStages:
    """The flat stages over the same demonstrations, in rounds, with ours and with the bare engine."""

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
        self._recorded: dict[str, Recorder] = {}
        self.differing = 0

    async def play_round(self, number: int) -> None:
        """Each stage once, then the bare engine on the same requests; the rollouts are not timed."""
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
        rollouts = {row.candidate_id: row for row in await self._roll_out(candidates)}
        critiques = await self._measure(
            "critiques",
            folder,
            lambda stage, model: criticise(
                stage,
                candidates,
                rollouts,
                demonstrations,
                model,
                CritiqueSettings(max_new_tokens=_CRITIQUE_TOKENS),
            ),
        )
        evidence = Evidence.of(candidates, rollouts.values(), critiques)
        await self._measure(
            "deliberation_trajectories",
            folder,
            lambda stage, model: deliberate(
                stage,
                demonstrations,
                evidence,
                model,
                DeliberationSettings(max_new_tokens=_DELIBERATION_TOKENS),
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

    async def _measure(self, name: str, folder: Path, work: _Work[R]) -> list[R]:
        recorder = self._recorded[name] = Recorder(self._model)
        ours, alone = self._seconds.setdefault(name, ([], []))
        with closing(Journal(folder / f"{name}.jsonl")) as journal:
            await self._model.reset_prefix_cache()
            started = time.perf_counter()
            finished = await work(self._stage(journal), recorder)
            rows = [row for rows in finished.rows for row in rows]
            ours.append(time.perf_counter() - started)
        taken, texts = await self._bare.generate(recorder.asked)
        alone.append(taken)
        self.differing += sum(a.text != text for a, text in zip(recorder.answers, texts, strict=True))
        return rows

    async def _roll_out(self, candidates: Sequence[CandidateRow]) -> list[RolloutRow]:
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
        return Stage(journal, self._settings.max_num_seqs, lambda *_: None, "01", 0)


async def measure_flat_stages(
    tasks: int, home: Path, progress: Callable[[int], None]
) -> tuple[list[FlatStage], int]:
    """The stages over `tasks` demonstrations, and how many prompts the bare engine completed differently."""
    settings = GenerationSettings(max_model_len=_CONTEXT, gpu_memory_utilization=_CARD_SHARE)
    model = await vllm_engine.start(weights(), settings)
    stages = _FlatStages(tasks, home, settings, model, await _Bare.start(weights(), settings))
    for number in range(ROUNDS):
        await stages.play_round(number)
        progress(number + 1)
    await model.close()
    return stages.results(), stages.differing
