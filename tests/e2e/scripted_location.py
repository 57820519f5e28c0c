"""The project's definitions with scripted models and training: a code location whose stages take moments.

A webserver and its runs load it in tests of the UI. Two files in `$SAND_HOME` control it:
`slow` makes a completion take that many seconds, `broken` makes a critique fail with that text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sand_dagster.definitions import definitions
from sand_dagster.experiments.experiment import Endpoint, Experiment
from sand_dagster.home import sand_home
from sand_dagster.models.stats import GenerationStats, MeteredGenerator
from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.loop import Loop
from sand_dagster.types import Completion, Message, Sampling
from tests.assets.pipeline import Finetuning, InProcess, Scripted

SLOW, BROKEN = "slow", "broken"


class Steered(Scripted):
    @asynccontextmanager
    async def model(
        self, experiment: Experiment, endpoint: Endpoint | None, folder: Path, iteration: str | None
    ) -> AsyncIterator[MeteredGenerator]:
        async with super().model(experiment, endpoint, folder, iteration) as model:
            yield _Steered(model)


@dataclass(frozen=True)
class _Steered:
    model: MeteredGenerator

    @property
    def model_id(self) -> str:
        return self.model.model_id

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        slow, broken = sand_home() / SLOW, sand_home() / BROKEN
        if slow.exists():
            await asyncio.sleep(float(slow.read_text()))
        if broken.exists() and "Action Evaluation" in messages[-1]["content"]:
            raise RuntimeError(broken.read_text())
        return await self.model.complete(messages, sampling)

    def stats(self) -> GenerationStats:
        return self.model.stats()


defs = definitions(
    with_resources={
        "artifacts": Artifacts(),
        "environments": InProcess(),
        "generation": Steered(),
        "loop": Loop(),
        "training": Finetuning(),
    }
)
