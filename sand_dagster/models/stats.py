"""What a generator has done so far: counts, and tokens a second."""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass, replace
from typing import Protocol

from sand_dagster.interfaces import Generator


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """Counts since a generator was opened. `busy_seconds` is time with at least one request in flight."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_seconds: float = 0.0
    standard_only: int = 0
    """Requests without the fields of `neutral.EXTENDED`, which the server refuses."""

    @property
    def completion_tokens_per_second(self) -> float:
        """Completion tokens a busy second; 0 if nothing was generated."""
        return self.completion_tokens / self.busy_seconds if self.busy_seconds else 0.0

    def plus(self, other: GenerationStats) -> GenerationStats:
        """The sum with another endpoint's counts of the same time; busy as long as the longer one."""
        return GenerationStats(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_prompt_tokens=self.cached_prompt_tokens + other.cached_prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            busy_seconds=max(self.busy_seconds, other.busy_seconds),
            standard_only=self.standard_only + other.standard_only,
        )

    def since(self, earlier: GenerationStats) -> GenerationStats:
        """The counts since `earlier`, because an engine lives longer than a stage."""
        return GenerationStats(
            *(now - before for now, before in zip(astuple(self), astuple(earlier), strict=True))
        )


class MeteredGenerator(Generator, Protocol):
    """A `Generator` that counts what it does."""

    def stats(self) -> GenerationStats:
        """Counts since it was opened."""
        ...


class Meter:
    """Counts one generator's work. Used from its event loop only."""

    def __init__(self) -> None:
        self._total = GenerationStats()
        self._in_flight = 0
        self._busy_since = 0.0

    def begin(self) -> None:
        """A request went out."""
        if self._in_flight == 0:
            self._busy_since = time.perf_counter()
        self._in_flight += 1

    def end(self) -> None:
        """A request came back, with any result."""
        self._total = self.stats()
        self._busy_since = time.perf_counter()
        self._in_flight -= 1

    def count(
        self,
        prompt_tokens: int,
        cached_prompt_tokens: int,
        completion_tokens: int,
        standard_only: bool = False,
    ) -> None:
        """A request succeeded."""
        total = self._total
        self._total = replace(
            total,
            requests=total.requests + 1,
            prompt_tokens=total.prompt_tokens + prompt_tokens,
            cached_prompt_tokens=total.cached_prompt_tokens + cached_prompt_tokens,
            completion_tokens=total.completion_tokens + completion_tokens,
            standard_only=total.standard_only + standard_only,
        )

    def stats(self) -> GenerationStats:
        """The counts so far, the running busy time included."""
        running = time.perf_counter() - self._busy_since if self._in_flight else 0.0
        return replace(self._total, busy_seconds=self._total.busy_seconds + running)
