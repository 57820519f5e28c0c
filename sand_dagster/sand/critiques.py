"""Execution-guided action critique: the frozen base model judges each candidate (Eq. 5, Figure 5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sand_dagster.execution.units import Finished, Row, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, digest, identify
from sand_dagster.interfaces import Generator, PromptTooLong
from sand_dagster.prompts.figures import Outcome, Parsed, critique_prompt, parse_critique
from sand_dagster.prompts.turns import render_history, render_rollout
from sand_dagster.sand.episode import was_played
from sand_dagster.sand.settings import CritiqueSettings, DeliberationSettings
from sand_dagster.sand.trajectories import Demonstration
from sand_dagster.types import Completion, Sampling, Step

NO_ROLLOUT = "no_rollout"
"""The outcome where a candidate could not be executed."""

Critic = Callable[
    [Stage, Sequence[Row], Mapping[str, Row], Sequence[Demonstration], Generator, CritiqueSettings],
    Awaitable[Finished],
]
"""`criticise`, or another function that gives `critiques` rows of the same candidates and rollouts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the base model answered to a prompt of Figure 5 or 6, after at most one retry."""

    parsed: Parsed
    first_outcome: Outcome
    text: str
    attempts: int
    prompt_tokens: int
    completion_tokens: int

    def columns(self) -> Row:
        """The columns that the tables of critiques and of deliberations share."""
        return {
            "text": self.text,
            "outcome": self.parsed.outcome,
            "first_outcome": self.first_outcome,
            "attempts": self.attempts,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
        }


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
    outcomes: list[Outcome] = []
    for attempt, temperature in enumerate((settings.temperature, settings.retry_temperature), start=1):
        rooms = [settings.max_new_tokens]
        if outcomes == ["cut_off"]:
            rooms.insert(0, 2 * settings.max_new_tokens)
        samplings = [Sampling(temperature, room, seed(attempt), pattern=pattern) for room in rooms]
        completion = await _first_that_fits(base, prompt, samplings)
        if completion is None:
            return Answer(Parsed("", "prompt_too_long"), "prompt_too_long", "", attempt, 0, 0)
        prompt_tokens += completion.prompt_tokens
        completion_tokens += completion.completion_tokens
        text = completion.text
        parsed = parse(text, cut=completion.cut)
        outcomes.append(parsed.outcome)
        if parsed.outcome == "ok":
            break
    return Answer(parsed, outcomes[0], text, attempt, prompt_tokens, completion_tokens)


async def _first_that_fits(base: Generator, prompt: str, samplings: Sequence[Sampling]) -> Completion | None:
    """What the first sampling with room in the context gives; None where there is room for none."""
    for sampling in samplings:
        with suppress(PromptTooLong):
            return await base.complete([{"role": "user", "content": prompt}], sampling)
    return None


async def criticise(
    stage: Stage,
    candidates: Sequence[Row],
    rollouts: Mapping[str, Row],
    demonstrations: Sequence[Demonstration],
    base: Generator,
    settings: CritiqueSettings,
) -> Finished:
    """The `critiques` rows: c_t ~ π_base(· | â_t, ê_t, r_t, Prompt_c) for every candidate that was played.

    `rollouts` is keyed by candidate id, and all of them are of `candidates`. Where the prompt does not fit
    the context, steps in the rollout's middle are left out, half of what is left each time, until it fits or
    one step is left. The outcome counted is that of parsing the reply, with `_shortened` where steps are left
    out; `no_rollout` where the candidate could not be executed, and has no critique.
    """
    by_id = {demonstration.id: demonstration for demonstration in demonstrations}

    def units() -> Iterator[Unit]:
        for candidate in candidates:
            rollout = rollouts.get(candidate["candidate_id"])
            if rollout is None:
                continue
            if not was_played(rollout):
                yield Unit(stage.key(rollout["rollout_id"], NO_ROLLOUT), _nothing_to_judge)
                continue
            demonstration = by_id[candidate["trajectory_id"]]
            played = [Step(s["thought"], s["action"], s["observation"]) for s in rollout["steps"]]
            prompt = partial(
                _prompt,
                demonstration.instruction,
                render_history(demonstration.history(candidate["index"])),
                candidate["action"],
                played,
                rollout["reward"],
            )
            critique_id = identify(
                "critiques",
                candidate["candidate_id"],
                rollout["rollout_id"],
                base.model_id,
                settings.model_dump(),
            )
            work = partial(_criticise_one, stage, critique_id, candidate, rollout, base, prompt, settings)
            yield Unit(stage.key(critique_id, prompt(0), base.model_id), work)

    return await run_units(stage, units(), len(rollouts))


async def _nothing_to_judge() -> tuple[list[Row], str]:
    return [], NO_ROLLOUT


def _prompt(
    instruction: str, history: str, action: str, played: Sequence[Step], reward: float, left_out: int
) -> str:
    return critique_prompt(instruction, history, action, render_rollout(played, reward, left_out))


async def _criticise_one(
    stage: Stage,
    critique_id: str,
    candidate: Row,
    rollout: Row,
    base: Generator,
    prompt: Callable[[int], str],
    settings: CritiqueSettings,
) -> tuple[list[Row], str]:
    seed = partial(derive_seed, stage.seed, stage.iteration, "critique", candidate["candidate_id"])
    steps = kept = len(rollout["steps"])
    answer = await ask(base, prompt(0), parse_critique, settings, seed)
    while answer.parsed.outcome == "prompt_too_long" and kept > 1:
        kept //= 2
        answer = await ask(base, prompt(steps - kept), parse_critique, settings, seed)
    row = {
        "critique_id": critique_id,
        "candidate_id": candidate["candidate_id"],
        "rollout_id": rollout["rollout_id"],
        "step_id": candidate["step_id"],
        "model_id": base.model_id,
        "critique": answer.parsed.text,
        "prompt_hash": digest(prompt(steps - kept)),
        "steps_left_out": steps - kept,
        **answer.columns(),
    }
    return [row], answer.parsed.outcome + ("_shortened" if kept < steps else "")
