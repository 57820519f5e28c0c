"""What runs a model: tokens in, text out. `VllmGenerator` puts chats on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from sand_dagster.types import Sampling


class EngineFailed(RuntimeError):
    """The engine ended or refused to start. Requests in flight are lost; the next `open` starts another."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One completion: its text, its tokens, and how many of the prompt's came from the prefix cache."""

    text: str
    tokens: int
    cached: int
    finish: Literal["stop", "length"]


class Driver(Protocol):
    """An engine, or several that share the work. Cancelling a request ends it in the engine too."""

    async def generate(self, prompt: list[int], sampling: Sampling) -> Sampled: ...

    async def reset_prefix_cache(self) -> None:
        """Empty the prefix cache."""
        ...

    def close(self) -> None:
        """End it and free its memory. Idempotent."""
        ...
