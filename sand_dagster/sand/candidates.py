"""Self-consistency action sampling and the inconsistency indicator (Section 4.2, Eq. 3 and Eq. 4)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from sand_dagster.execution.units import Finished, Row, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, identify
from sand_dagster.interfaces import Domain, PromptTooLong
from sand_dagster.prompts.turns import parse_completion
from sand_dagster.sand.episode import Agent
from sand_dagster.sand.settings import SamplingSettings
from sand_dagster.sand.trajectories import Demonstration
from sand_dagster.types import Completion, Sampling

Indicator = Callable[[Sequence[Row]], bool]
"""Whether to deliberate at a step, given the rows of its candidates: the expert's first, then by votes."""


def inconsistent(candidates: Sequence[Row]) -> bool:
    """1_delib(t) of Eq. 4: more than one distinct candidate. Algorithm 1's `= 0` cannot be meant."""
    return len(candidates) > 1


async def sample_candidates(
    stage: Stage,
    demonstrations: Sequence[Demonstration],
    policy: Agent,
    settings: SamplingSettings,
    indicator: Indicator = inconsistent,
) -> Finished:
    """The `candidate_actions` rows of every step of every demonstration: one for each distinct candidate.

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
    return await run_units(stage, units, sum(len(demonstration.rows) for demonstration in demonstrations))


async def _sample_step(
    stage: Stage,
    demonstration: Demonstration,
    t: int,
    policy: Agent,
    settings: SamplingSettings,
    indicator: Indicator,
) -> tuple[list[Row], str]:
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
    outcome = "ok"
    try:
        # The first alone: it fills the prefix cache that the others then hit.
        samples.append(await policy.model.complete(messages, next(samplings)))
        samples += await asyncio.gather(
            *(policy.model.complete(messages, sampling) for sampling in samplings)
        )
    except PromptTooLong:
        outcome = "prompt_too_long"
    expert = demonstration.rows[t]
    rows = candidate_rows(expert, samples, policy.domain, indicator)
    for row in rows:
        row |= {
            "candidate_id": identify(
                "candidate_actions",
                expert["step_id"],
                policy.id,
                settings.model_dump(),
                stage.seed,
                row["normalised"],
            ),
            "policy_id": policy.id,
            "outcome": outcome,
        }
    if outcome == "ok":
        outcome = "deliberates" if rows[0]["deliberates"] else "agrees"
    return rows, outcome


def candidate_rows(
    expert: Row, samples: Sequence[Completion], domain: Domain, indicator: Indicator = inconsistent
) -> list[Row]:
    """The set {â¹..âᴺ} ∪ {a_t} of *normalised* actions, the expert's first, then by votes.

    Raw texts are kept beside the normalised action; a sample without an action, or cut off in it, is
    counted and is no candidate.
    """
    replies = [(sample.text, parse_completion(sample)) for sample in samples]
    chosen: dict[str, list[tuple[str, str, str]]] = {domain.normalise(expert["action"]): []}
    unparsed = 0
    for text, reply in replies:
        if reply.action is None:
            unparsed += 1
        else:
            sampled = (text, reply.thought, reply.action)
            chosen.setdefault(domain.normalise(reply.action), []).append(sampled)
    own = next(iter(chosen))
    rows: list[Row] = []
    for normalised, votes in sorted(
        chosen.items(), key=lambda item: (item[0] != own, -len(item[1]), item[0])
    ):
        is_expert = normalised == own
        _, thought, action = ("", expert["thought"], expert["action"]) if is_expert else votes[0]
        rows.append(
            {
                "step_id": expert["step_id"],
                "trajectory_id": expert["trajectory_id"],
                "task_id": expert["task_id"],
                "index": expert["index"],
                "normalised": normalised,
                "action": action,
                "thought": thought,
                "is_expert": is_expert,
                "votes": len(votes),
                "texts": [text for text, _, _ in votes],
                "unparsed": unparsed,
                "prompt_tokens": sum(sample.prompt_tokens for sample in samples),
                "completion_tokens": sum(sample.completion_tokens for sample in samples),
            }
        )
    deliberates = indicator(rows)
    return [{**row, "deliberates": deliberates} for row in rows]
