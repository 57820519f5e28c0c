"""Self-consistency action sampling and the inconsistency indicator (Section 4.2, Eq. 3 and Eq. 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sand_dagster.execution.units import Finished, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, identify
from sand_dagster.interfaces import Domain, PromptTooLong
from sand_dagster.outcomes import Indicated, Sampled
from sand_dagster.prompts.turns import Reply, parse_completion
from sand_dagster.rows.candidates import CandidateRow
from sand_dagster.sand.episode import Agent
from sand_dagster.sand.settings import SamplingSettings
from sand_dagster.sand.trajectories import Demonstration
from sand_dagster.types import Completion, Sampling, Step

Indicator = Callable[[Sequence[CandidateRow]], bool]
"""Whether to deliberate at a step, given its candidates: the expert's first, then by votes."""


def inconsistent(candidates: Sequence[CandidateRow]) -> bool:
    """1_delib(t) of Eq. 4: more than one distinct candidate. Algorithm 1's `= 0` cannot be meant."""
    return len(candidates) > 1


async def sample_candidates(
    stage: Stage,
    demonstrations: Sequence[Demonstration],
    policy: Agent,
    settings: SamplingSettings,
    indicator: Indicator = inconsistent,
) -> Finished[CandidateRow]:
    """The distinct candidates of every step of every demonstration.

    At each step t, N turns are sampled from π_k given h_{t-1} of D_exp. Outcomes: `deliberates`, `agrees`
    (the `indicator` asks for no deliberation), `prompt_too_long`.
    """
    units = (
        Unit(
            stage.key(
                row,
                policy.prompt(demonstration.instruction, demonstration.history(t)),
                policy.model.model_id,
                policy.id,
            ),
            partial(_sample_step, stage, demonstration, t, policy, settings, indicator),
        )
        for demonstration in demonstrations
        for t, row in enumerate(demonstration.rows)
    )
    return await run_units(
        stage, CandidateRow, units, sum(len(demonstration.rows) for demonstration in demonstrations)
    )


async def _sample_step(
    stage: Stage,
    demonstration: Demonstration,
    t: int,
    policy: Agent,
    settings: SamplingSettings,
    indicator: Indicator,
) -> tuple[list[CandidateRow], str]:
    messages = policy.prompt(demonstration.instruction, demonstration.history(t))
    samplings = (
        Sampling(
            settings.temperature,
            policy.max_tokens,
            derive_seed(stage.seed, stage.iteration, "sample", demonstration.id, t, n),
        )
        for n in range(settings.n)
    )
    samples: list[Completion] = []
    outcome = Sampled.OK
    try:
        # The first alone: it fills the prefix cache that the others then hit.
        samples.append(await policy.model.complete(messages, next(samplings)))
        samples += await asyncio.gather(
            *(policy.model.complete(messages, sampling) for sampling in samplings)
        )
    except PromptTooLong:
        outcome = Sampled.PROMPT_TOO_LONG
    expert = demonstration.rows[t]
    replies = [(sample.text, parse_completion(sample)) for sample in samples]
    rows = [
        CandidateRow(
            candidate_id=identify(
                "candidate_actions",
                expert.step_id,
                policy.id,
                settings.model_dump(),
                stage.seed,
                candidate.normalised,
            ),
            step_id=expert.step_id,
            policy_id=policy.id,
            trajectory_id=expert.trajectory_id,
            task_id=expert.task_id,
            index=expert.index,
            normalised=candidate.normalised,
            action=candidate.action,
            thought=candidate.thought,
            is_expert=candidate.is_expert,
            votes=len(candidate.texts),
            texts=candidate.texts,
            deliberates=False,
            unparsed=sum(reply.action is None for _, reply in replies),
            outcome=outcome,
            prompt_tokens=sum(sample.prompt_tokens for sample in samples),
            completion_tokens=sum(sample.completion_tokens for sample in samples),
        )
        for candidate in distinct_candidates(expert.step, replies, policy.domain)
    ]
    deliberates = indicator(rows)
    rows = [replace(row, deliberates=deliberates) for row in rows]
    if outcome is Sampled.PROMPT_TOO_LONG:
        return rows, outcome
    return rows, Indicated.DELIBERATES if deliberates else Indicated.AGREES


@dataclass(frozen=True, slots=True)
class Candidate:
    """A distinct candidate of a step: the action, normalised and as first written, with its thought.

    `texts` are the samples that chose it, in order.
    """

    normalised: str
    action: str
    thought: str
    is_expert: bool
    texts: tuple[str, ...]


def distinct_candidates(
    expert: Step, samples: Sequence[tuple[str, Reply]], domain: Domain
) -> list[Candidate]:
    """The set {â¹..âᴺ} ∪ {a_t} of *normalised* actions, the expert's first, then by votes.

    A sample without an action, or cut off in it, is no candidate.

    Args:
        expert: (z_t, a_t).
        samples: texts, and the replies that were read from them.
    """
    own = domain.normalise(expert.action)
    found = {own: Candidate(own, expert.action, expert.thought, True, ())}
    for text, reply in samples:
        if reply.action is not None:
            name = domain.normalise(reply.action)
            known = found.get(name, Candidate(name, reply.action, reply.thought, False, ()))
            found[name] = replace(known, texts=(*known.texts, text))
    return sorted(found.values(), key=lambda each: (not each.is_expert, -len(each.texts), each.normalised))
