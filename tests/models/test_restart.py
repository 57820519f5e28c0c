"""An engine that crashes in the middle of a stage is started once more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.execution.units import Finished, MemoryJournal, Stage, Unit, no_progress, run_units
from sand_dagster.models import vllm_engine
from sand_dagster.models.driver import EngineFailed
from sand_dagster.models.engines import engines as shared
from sand_dagster.models.on_demand import open_on_demand
from sand_dagster.models.replicas import Replicas
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.models.stats import GenerationStats
from sand_dagster.types import Completion, Message, Sampling
from tests.training.tiny_model import tiny_chat, write_tiny_model


@dataclass(frozen=True)
class Said:
    id: int
    text: str


class Mortal:
    """Completes `life` prompts, and then fails."""

    model_id = "m"

    def __init__(self, life: int) -> None:
        self.life = life

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        await asyncio.sleep(0.001)
        self.life -= 1
        if self.life < 0:
            raise EngineFailed("the engine's process ended with status -9")
        return Completion(f"{messages[-1]['content']} {sampling.seed}", 1, 1, "stop")

    def stats(self) -> GenerationStats:
        return GenerationStats()

    async def close(self) -> None: ...


async def stage(source: ModelSource, settings: GenerationSettings) -> Finished[Said]:
    async with open_on_demand(source, settings) as model:

        async def work(number: int) -> tuple[list[Said], str]:
            said = await model.complete(tiny_chat(number), Sampling(1.0, 16, seed=number))
            return [Said(number, said.text)], "done"

        units = [Unit(str(number), lambda number=number: work(number)) for number in range(40)]
        return await run_units(Stage(MemoryJournal(), 16, no_progress, "01", 0), Said, units, len(units))


def run_with(lives: list[int], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Finished[Said]:
    started = iter(lives)

    async def start(*_: Any) -> Mortal:
        return Mortal(next(started))

    monkeypatch.setattr(vllm_engine, "start", start)
    source = ModelSource(model=str(write_tiny_model(folder / "model")))
    try:
        return shared.run(stage(source, GenerationSettings(max_model_len=64)))
    finally:
        shared.release_all()


def rows(finished: Finished[Said]) -> list[Said]:
    return sorted((row for rows in finished.rows for row in rows), key=lambda row: row.id)


def test_the_units_are_repeated_and_counted_and_the_rows_are_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    undisturbed = run_with([100], monkeypatch, tmp_path)
    assert undisturbed.outcomes == Counter(done=40)
    disturbed = run_with([13, 100], monkeypatch, tmp_path)
    assert rows(disturbed) == rows(undisturbed)
    assert disturbed.outcomes["done"] == 40
    assert 1 <= disturbed.outcomes["repeated"] <= 16


def test_an_engine_that_ends_twice_ends_the_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(EngineFailed, match="status -9"):
        run_with([13, 13, 100], monkeypatch, tmp_path)
    assert shared._entries == {}, "nothing dead is kept"


@pytest.mark.slow
def test_a_real_engine_whose_process_is_killed(tmp_path: Path) -> None:
    import os
    import signal

    source = ModelSource(model=str(write_tiny_model(tmp_path / "model")))
    settings = GenerationSettings(max_model_len=512, max_num_seqs=4, kv_cache_gib=0.25)

    async def disturbed() -> Finished[Said]:
        work = asyncio.create_task(stage(source, settings))
        while not any(entry.generator for entry in shared._entries.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        (entry,) = shared._entries.values()
        assert isinstance(entry.generator, vllm_engine.VllmGenerator)
        while entry.generator.stats().requests < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        driver = entry.generator._driver
        assert isinstance(driver, Replicas)
        os.kill(driver._processes[0].pid, signal.SIGKILL)
        return await work

    try:
        undisturbed = shared.run(stage(source, settings))
        shared.release_all()
        finished = shared.run(disturbed())
        assert finished.outcomes["repeated"] >= 1
        assert rows(finished) == rows(undisturbed)
    finally:
        shared.release_all()
