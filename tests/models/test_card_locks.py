"""Two runs on one card: an unused engine ends for the other run, an engine in use does not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.models import vllm_engine
from sand_dagster.models.card_locks import CardLocks
from sand_dagster.models.engines import Engines
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.models.stats import GenerationStats
from tests.training.tiny_model import write_tiny_model

OTHER = """
import sys, time
from pathlib import Path
from sand_dagster.models.card_locks import CardLocks
with CardLocks(["GPU-a", "GPU-b"], Path(sys.argv[1])).holding():
    print("has them", flush=True)
    time.sleep(float(sys.argv[2]))
"""


class Engine:
    """An engine that holds a card."""

    model_id = "m"
    closed = False

    def stats(self) -> GenerationStats:
        return GenerationStats()

    async def complete(self, *_: Any) -> Any: ...

    async def close(self) -> None:
        self.closed = True


def other(folder: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.fixture
def model(tmp_path: Path) -> ModelSource:
    return ModelSource(model=str(write_tiny_model(tmp_path / "model")))


def test_an_engine_in_use_keeps_the_cards_and_an_idle_one_releases_them(
    tmp_path: Path, model: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Engine] = []

    async def start(*_: Any) -> Engine:
        started.append(Engine())
        return started[-1]

    monkeypatch.setattr(vllm_engine, "start", start)
    locks = CardLocks(["GPU-b"], tmp_path)
    engines = Engines(keep=1, locks=locks)

    async def stage(seconds: float) -> None:
        async with engines.open(model, GenerationSettings(max_model_len=64)):
            await asyncio.sleep(seconds)

    async def used() -> None:
        async with engines.open(model, GenerationSettings(max_model_len=64)):
            waiting.append(other(tmp_path, 2.0))
            while not locks.wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await asyncio.sleep(1.5)
            assert not started[0].closed, "it is in use"

    waiting: list[subprocess.Popen[str]] = []
    try:
        engines.run(stage(0))
        assert locks.held, "the engine is kept for the next stage"
        engines.run(used())
        assert waiting[0].stdout is not None
        assert waiting[0].stdout.readline() == "has them\n", "the idle engine has ended"
        assert started[0].closed
        began = time.monotonic()
        engines.run(stage(0))
        assert time.monotonic() - began > 0.5, "the next stage waited for its turn"
        assert len(started) == 2
        assert locks.held
        engines.release_all()
        assert not locks.held
    finally:
        for process in waiting:
            process.kill()
            process.wait()


def test_a_killed_process_releases_the_cards(tmp_path: Path) -> None:
    process = other(tmp_path, 60)
    assert process.stdout is not None
    process.stdout.readline()
    locks = CardLocks(["GPU-a"], tmp_path)
    assert not locks._take()
    process.kill()
    process.wait()
    with locks.holding():
        assert locks.held
    assert not locks.held


def test_without_cards_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    locks = CardLocks([], tmp_path)
    with locks.holding():
        assert not locks.wanted
    assert list(tmp_path.iterdir()) == []
