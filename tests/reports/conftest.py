"""A small experiment whose models write markup, and its report."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sand_dagster.models.stats import GenerationStats
from sand_dagster.reports.writing import write_report
from sand_dagster.types import Completion, Message, Sampling
from tests.assets.pipeline import NAME, Pipeline, Scripted

MARKUP = '</script><script>document.title = "taken over"</script><img src=x onerror="document.title = 1">'
"""What a model may write, and a page must not execute."""


class Hostile(Scripted):
    """The scripted models, with markup in everything that they write."""

    @asynccontextmanager
    async def model(self, *arguments: Any) -> AsyncIterator[_Model]:
        async with super().model(*arguments) as model:
            yield _Model(model)


@dataclass(frozen=True)
class _Model:
    model: Any

    @property
    def model_id(self) -> str:
        return str(self.model.model_id)

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        answer: Completion = await self.model.complete(messages, sampling)
        text = answer.text
        for sentence in ("I look.", "it changes nothing.", "I can choose."):
            text = text.replace(sentence, f"{sentence} {MARKUP}")
        return replace(answer, text=text)

    def stats(self) -> GenerationStats:
        return GenerationStats()


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Iterations 00 and 01, complete. Tests only read it."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        made = Pipeline(folder / "home", instance)
        made.materialise()
        for iteration in ("00", "01"):
            made.materialise(iteration=iteration, generation=Hostile())
        yield made


@pytest.fixture(scope="session")
def page(pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report's page."""
    return write_report([NAME], tmp_path_factory.mktemp("written") / "report", pipeline.home)
