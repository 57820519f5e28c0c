"""Asking π_base, as Eq. 5 and Eq. 6 do: one prompt, a reply that is read, and at most one retry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from sand_dagster.interfaces import Generator, PromptTooLong
from sand_dagster.outcomes import ReplyOutcome
from sand_dagster.prompts.figures import Parsed
from sand_dagster.sand.settings import CritiqueSettings, DeliberationSettings
from sand_dagster.types import Completion, Sampling


@dataclass(frozen=True, slots=True)
class Answer:
    """What the base model answered to a prompt of Figure 5 or 6, after at most one retry."""

    parsed: Parsed
    first_outcome: ReplyOutcome
    text: str
    """The raw reply."""
    attempts: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def outcome(self) -> ReplyOutcome:
        """Of the last attempt."""
        return self.parsed.outcome


class Parse(Protocol):
    """Reads a reply, of which `cut` says whether it was cut off."""

    def __call__(self, reply: str, *, cut: bool) -> Parsed: ...


async def ask(
    base: Generator,
    prompt: str,
    parse: Parse,
    settings: CritiqueSettings | DeliberationSettings,
    seed: Callable[[int], int],
    pattern: str = "",
) -> Answer:
    """Ask π_base; a reply that does not parse is asked for once more, at the retry's temperature.

    After one that was cut off, the retry has twice the room where the context allows it.
    """
    prompt_tokens = completion_tokens = 0
    text = ""
    outcomes: list[ReplyOutcome] = []
    for attempt, temperature in enumerate((settings.temperature, settings.retry_temperature), start=1):
        rooms = [settings.max_new_tokens]
        if outcomes == [ReplyOutcome.CUT_OFF]:
            rooms.insert(0, 2 * settings.max_new_tokens)
        samplings = [Sampling(temperature, room, seed(attempt), pattern=pattern) for room in rooms]
        completion = await _first_that_fits(base, prompt, samplings)
        if completion is None:
            too_long = ReplyOutcome.PROMPT_TOO_LONG
            return Answer(Parsed("", too_long), too_long, "", attempt, 0, 0)
        prompt_tokens += completion.prompt_tokens
        completion_tokens += completion.completion_tokens
        text = completion.text
        parsed = parse(text, cut=completion.cut)
        outcomes.append(parsed.outcome)
        if parsed.outcome is ReplyOutcome.OK:
            break
    return Answer(parsed, outcomes[0], text, attempt, prompt_tokens, completion_tokens)


async def _first_that_fits(base: Generator, prompt: str, samplings: Sequence[Sampling]) -> Completion | None:
    """What the first sampling with room in the context gives; None where there is room for none."""
    for sampling in samplings:
        with suppress(PromptTooLong):
            return await base.complete([{"role": "user", "content": prompt}], sampling)
    return None
