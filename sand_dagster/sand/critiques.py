"""Execution-guided action critique: the frozen base model judges each candidate (Eq. 5, Figure 5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial

from sand_dagster.execution.units import Finished, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, digest, identify
from sand_dagster.interfaces import Generator
from sand_dagster.outcomes import ReplyOutcome, StepOutcome
from sand_dagster.prompts.figures import critique_prompt, parse_critique
from sand_dagster.prompts.turns import render_history, render_rollout
from sand_dagster.rows.candidates import CandidateRow, CritiqueRow, RolloutRow
from sand_dagster.sand.asking import Answer, ask
from sand_dagster.sand.settings import CritiqueSettings
from sand_dagster.sand.trajectories import Demonstration
from sand_dagster.types import Step

Critic = Callable[
    [
        Stage,
        Sequence[CandidateRow],
        Mapping[str, RolloutRow],
        Sequence[Demonstration],
        Generator,
        CritiqueSettings,
    ],
    Awaitable[Finished[CritiqueRow]],
]
"""`criticise`, or another function that gives critiques of the same candidates and rollouts."""


async def criticise(
    stage: Stage,
    candidates: Sequence[CandidateRow],
    rollouts: Mapping[str, RolloutRow],
    demonstrations: Sequence[Demonstration],
    base: Generator,
    settings: CritiqueSettings,
) -> Finished[CritiqueRow]:
    """c_t ~ π_base(· | â_t, ê_t, r_t, Prompt_c) for every candidate that was played.

    `rollouts` is keyed by candidate id, and all of them are of `candidates`. Where the prompt does not fit
    the context, steps in the rollout's middle are left out, half of what is left each time, until it fits or
    one step is left. The outcome counted is that of parsing the reply, with `_shortened` where steps are left
    out; `no_rollout` where the candidate could not be executed, and has no critique.
    """
    by_id = {demonstration.id: demonstration for demonstration in demonstrations}

    def units() -> Iterator[Unit[CritiqueRow]]:
        for candidate in candidates:
            rollout = rollouts.get(candidate.candidate_id)
            if rollout is None:
                continue
            if not rollout.was_played:
                key = stage.key(rollout.rollout_id, StepOutcome.NO_ROLLOUT)
                yield Unit(key, _nothing_to_judge)
                continue
            demonstration = by_id[candidate.trajectory_id]
            prompt = partial(
                _prompt,
                demonstration.task_instruction,
                render_history(demonstration.history(candidate.index)),
                candidate.action,
                [turn.step for turn in rollout.steps],
                rollout.reward,
            )
            critique_id = identify(
                "critiques",
                candidate.candidate_id,
                rollout.rollout_id,
                base.model_id,
                settings.model_dump(),
                # The default adds nothing, so ids that were given before it could be chosen stay.
                *filter(None, [demonstration.full_instruction]),
            )
            work = partial(_criticise_one, stage, critique_id, candidate, rollout, base, prompt, settings)
            yield Unit(stage.key(critique_id, prompt(0), base.model_id), work)

    return await run_units(stage, CritiqueRow, units(), len(rollouts))


async def _nothing_to_judge() -> tuple[list[CritiqueRow], str]:
    return [], StepOutcome.NO_ROLLOUT


def _prompt(
    instruction: str, history: str, action: str, played: Sequence[Step], reward: float, left_out: int
) -> str:
    return critique_prompt(instruction, history, action, render_rollout(played, reward, left_out))


async def _ask(
    base: Generator, prompt: str, settings: CritiqueSettings, seed: Callable[[int], int]
) -> Answer:
    return await ask(base, prompt, partial(parse_critique, prompt=prompt), settings, seed)


async def _criticise_one(
    stage: Stage,
    critique_id: str,
    candidate: CandidateRow,
    rollout: RolloutRow,
    base: Generator,
    prompt: Callable[[int], str],
    settings: CritiqueSettings,
) -> tuple[list[CritiqueRow], str]:
    seed = partial(derive_seed, stage.seed, stage.iteration, "critique", candidate.candidate_id)
    steps = kept = len(rollout.steps)
    answer = await _ask(base, prompt(0), settings, seed)
    while answer.outcome is ReplyOutcome.PROMPT_TOO_LONG and kept > 1:
        kept //= 2
        answer = await _ask(base, prompt(steps - kept), settings, seed)
    row = CritiqueRow(
        critique_id=critique_id,
        candidate_id=candidate.candidate_id,
        rollout_id=rollout.rollout_id,
        step_id=candidate.step_id,
        model_id=base.model_id,
        critique=answer.parsed.text,
        text=answer.text,
        outcome=answer.outcome,
        first_outcome=answer.first_outcome,
        attempts=answer.attempts,
        prompt_hash=digest(prompt(steps - kept)),
        steps_left_out=steps - kept,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
    )
    return [row], answer.outcome + ("_shortened" if kept < steps else "")
