"""The benchmark of the flat stages: what its two engines may take."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sand_dagster.bench import flat_stages
from sand_dagster.models.settings import GenerationSettings


def test_both_engines_fit_on_one_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are there at the same time, and vLLM refuses a share that is not free."""
    shares: list[float] = []

    async def start(folder: Path, settings: GenerationSettings) -> None:
        shares.append(settings.gpu_memory_utilization)

    monkeypatch.setattr(flat_stages.vllm_engine, "start", start)
    monkeypatch.setattr(flat_stages._Bare, "start", start)
    monkeypatch.setattr(flat_stages, "ROUNDS", 0)
    with pytest.raises(AttributeError, match="close"):  # there is no engine to close
        asyncio.run(flat_stages.measure_flat_stages(1, tmp_path, lambda _: None))
    assert len(shares) == 2
    assert sum(shares) < 1
