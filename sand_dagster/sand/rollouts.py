"""Rollouts: every distinct candidate executed from h_{t-1} and played to the end (Section 4.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from sand_dagster.execution.units import Finished, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, identify
from sand_dagster.interfaces import Environments, ReplayMismatch
from sand_dagster.outcomes import Ended
from sand_dagster.prompts.turns import Reply
from sand_dagster.rows.candidates import CandidateRow, RolloutRow
from sand_dagster.sand.episode import Agent, Rollout, execute, run_episode
from sand_dagster.sand.settings import RolloutSettings
from sand_dagster.sand.trajectories import Demonstration
from sand_dagster.types import Step, Task

_log = logging.getLogger(__name__)


async def roll_out(
    stage: Stage,
    candidates: Sequence[CandidateRow],
    demonstrations: Sequence[Demonstration],
    tasks: Mapping[str, Task],
    environments: Environments,
    policy: Agent,
    settings: RolloutSettings,
) -> Finished[RolloutRow]:
    """The rollouts of all candidates of deliberating steps, the expert's own included.

    The candidate (ẑ_t, â_t) is executed after h_{t-1}, then π_k plays on at the settings' temperature, until
    the environment is done or the task's step limit is reached. Siblings of one step stand side by side, so
    that they share the replayed prefix and the engine's prefix cache. Outcome: how the rollout ended. Where
    h_{t-1} no longer replays, nothing is played: the row has no steps, reward 0, and ended in
    `replay_mismatch`.
    """
    by_id = {demonstration.id: demonstration for demonstration in demonstrations}
    total = sum(candidate.deliberates for candidate in candidates)

    def units() -> Iterator[Unit[RolloutRow]]:
        for candidate in candidates:
            if not candidate.deliberates:
                continue
            demonstration = by_id[candidate.trajectory_id]
            task = tasks[candidate.task_id]
            rollout_id = identify(
                "rollouts",
                candidate.candidate_id,
                policy.id,
                candidate.thought,
                candidate.action,
                settings.model_dump(),
                policy.max_tokens,
                task.step_limit,
            )
            work = partial(
                _roll_out_one,
                stage,
                rollout_id,
                candidate,
                demonstration,
                task,
                environments,
                policy,
                settings,
            )
            history = demonstration.history(candidate.index)
            prompt = policy.prompt(demonstration.instruction, history)
            replayed = settings.expert_rollout == "demonstration" and candidate.is_expert
            shown = demonstration.rows if replayed else ()
            yield Unit(stage.key(rollout_id, task, prompt, shown, policy.model.model_id), work)

    return await run_units(stage, RolloutRow, units(), total)


async def _roll_out_one(
    stage: Stage,
    rollout_id: str,
    candidate: CandidateRow,
    demonstration: Demonstration,
    task: Task,
    environments: Environments,
    policy: Agent,
    settings: RolloutSettings,
) -> tuple[list[RolloutRow], str]:
    history = demonstration.history(candidate.index)
    if candidate.is_expert and settings.expert_rollout == "demonstration":
        played = demonstrated(demonstration, candidate.index)
    else:
        try:
            played = await play_candidate(
                environments,
                policy,
                task,
                history,
                Reply(candidate.thought, candidate.action),
                settings.temperature,
                partial(derive_seed, stage.seed, stage.iteration, "rollout", candidate.candidate_id),
            )
        except ReplayMismatch as mismatch:
            _log.warning("candidate %s is not played: %s", candidate.candidate_id, mismatch)
            played = Rollout(ended=Ended.REPLAY_MISMATCH)
    row = RolloutRow(
        rollout_id=rollout_id,
        candidate_id=candidate.candidate_id,
        policy_id=policy.id,
        step_id=candidate.step_id,
        task_id=task.id,
        steps=played.turns,
        reward=played.reward,
        ended=played.ended,
        invalid_actions=played.invalid,
        unparsed=played.unparsed,
        prompt_tokens=played.prompt_tokens,
        completion_tokens=played.completion_tokens,
    )
    return [row], played.ended


async def play_candidate(
    environments: Environments,
    policy: Agent,
    task: Task,
    history: Sequence[Step],
    candidate: Reply,
    temperature: float,
    seed: Callable[[int], int],
) -> Rollout:
    """Execute `candidate` after `history` = h_{t-1} and let `policy` play on: ê_t and r_t of Section 4.3."""
    episode = await environments.open(task, history)
    try:
        played = Rollout()
        await execute(episode, policy.domain, played, candidate)
        return await run_episode(
            episode,
            policy,
            history,
            played,
            temperature=temperature,
            seed=seed,
            step_limit=task.step_limit,
        )
    finally:
        await episode.close()


def demonstrated(demonstration: Demonstration, t: int) -> Rollout:
    """The demonstration itself from step `t` on, as the rollout of the expert's candidate."""
    steps = demonstration.history(len(demonstration.rows))[t:]
    rewards = [0.0] * (len(steps) - 1) + [demonstration.reward]
    return Rollout(steps, [True] * len(steps), rewards, Ended.DONE)
