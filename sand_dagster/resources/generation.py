"""Generation: the process's engines as a Dagster resource."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from pydantic import Field

from sand_dagster.experiments.experiment import Endpoint, Experiment
from sand_dagster.home import sand_home
from sand_dagster.models.cards import cards
from sand_dagster.models.engines import engines
from sand_dagster.models.model_folder import present, resolve
from sand_dagster.models.on_demand import open_on_demand
from sand_dagster.models.packaged import packaged_model
from sand_dagster.models.settings import Checkpoint, GenerationSettings, ModelSource
from sand_dagster.models.stats import MeteredGenerator
from sand_dagster.resources.model_server import ModelServer

T = TypeVar("T")

ON_A_CPU = {"max_concurrency": 128, "max_num_seqs": 64}
A_CARD = {"max_concurrency": 256, "max_num_seqs": 256}
"""Defaults that differ on a GPU; the units in progress at once are 256 for each GPU."""


def _at_once() -> int:
    """Units of work that keep this machine's engines busy."""
    return A_CARD["max_concurrency"] * len(cards()) or ON_A_CPU["max_concurrency"]


class Generation(dg.ConfigurableResource[None]):
    """Completions by a vLLM of our own, a `ModelServer`, or the endpoint that an experiment names.

    Nothing starts until a stage asks for a completion. Engines stay alive for the later stages of the run.
    None of the fields decides the completions. Each can also be set by an environment variable: SAND_ and
    its name in capitals.
    """

    max_concurrency: int = Field(
        default_factory=_at_once, ge=1, description="units of work in progress at once; 256 for each GPU"
    )
    max_num_seqs: int = Field(
        default_factory=lambda: (A_CARD if cards() else ON_A_CPU)["max_num_seqs"],
        ge=1,
        description="requests that a copy of a model works on at once",
    )
    kv_cache_gib: float = Field(
        default=2.0, gt=0, description="attention's cache on a CPU, GiB for each engine"
    )
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, lt=1, description="share of a GPU's memory for weights and attention's cache"
    )
    tensor_parallel_size: int = Field(
        default=0,
        ge=0,
        description="GPUs that one copy of a model is spread over; 0: as few as possible. The other GPUs get "
        "more copies",
    )

    endpoint_timeout: float = Field(
        default=600.0, gt=0, description="seconds to wait for an endpoint's answer"
    )
    endpoint_retries: int = Field(
        default=6,
        ge=0,
        description="how often a request to an endpoint is repeated, with a longer wait each time",
    )
    endpoint_patience: float = Field(
        default=GenerationSettings().endpoint_patience,
        ge=0,
        description="seconds to wait if no endpoint of a model can be reached",
    )

    server: ModelServer

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{"server": ModelServer(), **fields})

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the engines' event loop; an interrupt cancels it."""
        return engines.run(work)

    def release(self) -> None:
        """End all engines, to free the memory for a training."""
        engines.release_all()

    def base_folder(self, experiment: Experiment) -> Path:
        """The base model's folder; it is downloaded from the hub if it is neither in a package nor a folder.

        Raises:
            ModelUnavailable: it is not available.
        """
        packaged = packaged_model(experiment.model.base)
        return packaged.folder(sand_home()) if packaged else resolve(_source(experiment))

    def base_folder_here(self, experiment: Experiment) -> Path | None:
        """As `base_folder`, but nothing is downloaded; None if the model is not on this machine yet."""
        packaged = packaged_model(experiment.model.base)
        return packaged.present(sand_home()) if packaged else present(_source(experiment))

    @asynccontextmanager
    async def model(
        self, experiment: Experiment, endpoint: Endpoint | None, folder: Path, checkpoint: Checkpoint | None
    ) -> AsyncIterator[MeteredGenerator]:
        """The model in `folder`, or the one that `endpoint` serves instead.

        `checkpoint` says which policy is in `folder`; None: it is the base model.
        """
        source = ModelSource(model=str(folder), checkpoint_id=checkpoint.checkpoint_id if checkpoint else "")
        if endpoint is not None:
            source = ModelSource(
                model=endpoint.served_name(checkpoint),
                endpoint=endpoint.urls[0],
                also_at=endpoint.urls[1:],
                checkpoint=folder if checkpoint else None,
                tokenizer=folder if endpoint.prompts == "tokens" else None,
                api_key_variable=endpoint.key_variable,
            )
        settings = GenerationSettings(
            max_model_len=experiment.model.max_model_len,
            chat_template=experiment.finetuning.chat_template,
            max_num_seqs=self.max_num_seqs,
            kv_cache_gib=self.kv_cache_gib,
            gpu_memory_utilization=self.gpu_memory_utilization,
            tensor_parallel_size=self.tensor_parallel_size,
            endpoint_timeout=self.endpoint_timeout,
            endpoint_retries=self.endpoint_retries,
            endpoint_patience=self.endpoint_patience,
        )
        server = self.server if self.server.used and endpoint is None else None
        async with open_on_demand(source, settings, server) as generator:
            yield generator


def _source(experiment: Experiment) -> ModelSource:
    return ModelSource(model=experiment.model.base, revision=experiment.model.revision)
