"""Servers of a model: what a generator needs of them, and those that somebody else started."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from sand_dagster.models.settings import GenerationSettings


class Serving(Protocol):
    """A model that is served."""

    @property
    def name(self) -> str:
        """The model's name on every server."""
        ...

    @property
    def urls(self) -> tuple[str, ...]:
        """Base URLs of an OpenAI-compatible API, ending in /v1."""
        ...

    @property
    def version(self) -> str | None:
        """The version of vLLM that the servers must have; None: any."""
        ...

    async def lost(self) -> str:
        """Wait until none of the servers will ever answer again; returns the reason."""
        ...

    async def close(self) -> None:
        """End the servers, if they were started for this model. Idempotent."""
        ...


class ModelServer(Protocol):
    """Serves models."""

    @property
    def local(self) -> bool:
        """Whether its servers use this machine's memory and GPUs."""
        ...

    @property
    def key(self) -> str:
        """Its configuration as text."""
        ...

    async def serve(self, folder: Path, checkpoint_id: str, settings: GenerationSettings) -> Serving:
        """Serve the model in `folder`: a policy's checkpoint, or with an empty id the base model.

        Raises:
            EngineFailed: a server does not start.
        """
        ...


class Elsewhere:
    """Servers that somebody else starts and ends. See `Serving`."""

    def __init__(self, name: str, urls: tuple[str, ...], version: str | None = None) -> None:
        self.name, self.urls, self.version = name, urls, version

    async def lost(self) -> str:
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    async def close(self) -> None: ...
