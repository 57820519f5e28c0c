"""The interface of engines: tokens in, text out. `VllmGenerator` adds chats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from sand_dagster.types import Sampling


class EngineFailed(RuntimeError):
    """The engine ended or did not start. Requests in flight are lost; the next `open` starts a new engine."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One completion: its text, its tokens, and how many of the prompt's came from the prefix cache."""

    text: str
    tokens: int
    cached: int
    finish: Literal["stop", "length"]


class Driver(Protocol):
    """An engine, or several that share the work. Cancelling a request also ends it in the engine."""

    async def generate(self, prompt: list[int], sampling: Sampling) -> Sampled: ...

    async def reset_prefix_cache(self) -> None:
        """Empty the prefix cache."""
        ...

    def close(self) -> None:
        """End it and free its memory. Idempotent."""
        ...
