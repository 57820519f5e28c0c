"""vLLM's own server and Ray Serve, started for real: the completions of the engines in process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.models.engines import Engines
from sand_dagster.models.settings import GenerationSettings, ModelSource
from sand_dagster.resources.model_server import ModelServer
from sand_dagster.types import Completion, Message, Sampling
from tests.processes import gone, listening_beyond_loopback, with_variable

SETTINGS = GenerationSettings(max_model_len=256, chat_template="household")
CHATS: list[list[Message]] = [[{"role": "user", "content": f"task {number}"}] for number in range(12)]


def completions(
    folder: Path, server: ModelServer | None = None, then: Callable[[], object] = lambda: None
) -> list[Completion]:
    """Of all chats; `then` is called before the engine or the servers end."""
    engines = Engines()

    async def script() -> Any:
        async with engines.open(ModelSource(model=str(folder)), SETTINGS, server) as generator:
            work = [
                generator.complete(chat, Sampling(1.0, 20, seed=seed)) for chat in CHATS for seed in (0, 1)
            ]
            done = list(await asyncio.gather(*work))
            then()
            return done

    try:
        return engines.run(script())
    finally:
        engines.release_all()


def shared_memory() -> set[str]:
    """What Python's processes share on this machine."""
    return {file.name for file in Path("/dev/shm").iterdir() if file.name.startswith(("psm_", "sem.mp-"))}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_two_copies_complete_as_engines_in_process(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    home = str(tmp_path / "home")
    monkeypatch.setenv("SAND_HOME", home)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    here = completions(tiny_model)
    assert len({done.text for done in here}) > len(CHATS)
    before, memory = with_variable("SAND_HOME", home), shared_memory()
    started: set[int] = set()

    def look() -> None:
        started.update(with_variable("SAND_HOME", home) - before)
        assert listening_beyond_loopback(started) == []

    assert completions(tiny_model, ModelServer(model_server=kind, server_copies=2), look) == here
    assert len(started) > 2
    assert all(gone(pid) for pid in started), "nothing of the servers is left"
    if kind == "local":  # Ray kills its replicas' engines, which leave a file for each (docs/gpu.md)
        assert shared_memory() <= memory
