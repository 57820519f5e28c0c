"""Four ways to play the same rollouts: one by one, in processes, in lockstep, and as a stage of ours."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sand_dagster.execution.journal import Journal
from sand_dagster.execution.units import Stage, Unit, run_units
from sand_dagster.ids import derive_seed
from sand_dagster.interfaces import Environments, Episode
from sand_dagster.outcomes import Ended
from sand_dagster.prompts.turns import Reply, parse_completion
from sand_dagster.rows.candidates import RolloutRow
from sand_dagster.sand.episode import Agent, Rollout, execute
from sand_dagster.sand.rollouts import play_candidate
from sand_dagster.types import Sampling, Step, Task


@dataclass(frozen=True, slots=True)
class Job:
    """A rollout to play: the candidate `reply` of `task`, executed after `history`."""

    task: Task
    history: Sequence[Step]
    reply: Reply


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout ended, and how long it took after it was opened, in seconds."""

    reward: float
    turns: int
    completion_tokens: int
    seconds: float


Arm = Callable[[Sequence[Job], Environments, Agent], Awaitable[list[Outcome]]]


async def _play(job: Job, environments: Environments, agent: Agent) -> tuple[Rollout, Outcome]:
    started = time.perf_counter()
    seed = partial(derive_seed, "bench", job.task.id)
    played = await play_candidate(environments, agent, job.task, job.history, job.reply, 0.0, seed)
    return played, _outcome(played, time.perf_counter() - started)


def _outcome(played: Rollout, seconds: float) -> Outcome:
    return Outcome(played.reward, len(played.steps), played.completion_tokens, seconds)


async def concurrently(
    jobs: Sequence[Job], environments: Environments, agent: Agent, max_concurrency: int
) -> list[Outcome]:
    """As many loops as `max_concurrency`, each playing one rollout after another.

    With 1 it is the loop of ETO's and MPO's evaluation. With the number of cores it is the same loop in
    that many processes, which share the engine.
    """
    outcomes: list[Outcome | None] = [None] * len(jobs)
    waiting = list(enumerate(jobs))[::-1]

    async def worker() -> None:
        while waiting:
            index, job = waiting.pop()
            _, outcomes[index] = await _play(job, environments, agent)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(max_concurrency, len(jobs))):
            group.create_task(worker())
    return [outcome for outcome in outcomes if outcome is not None]


async def as_a_stage(
    jobs: Sequence[Job], environments: Environments, agent: Agent, max_concurrency: int
) -> list[Outcome]:
    """SAND's way: units of work, each journalled when it ends; none waits for a batch to end."""
    outcomes: dict[int, Outcome] = {}

    async def work(index: int, job: Job) -> tuple[list[RolloutRow], str]:
        played, outcomes[index] = await _play(job, environments, agent)
        return [_row(index, job, played)], played.ended

    units = (Unit(str(index), partial(work, index, job)) for index, job in enumerate(jobs))
    with tempfile.TemporaryDirectory(prefix="sand-bench-") as folder, Journal(Path(folder, "j")) as journal:
        await run_units(
            Stage(journal, max_concurrency, lambda *_: None, "01", 0), RolloutRow, units, len(jobs)
        )
    return [outcomes[index] for index in range(len(jobs))]


def _row(index: int, job: Job, played: Rollout) -> RolloutRow:
    """The row that a stage would keep."""
    return RolloutRow(
        rollout_id=str(index),
        candidate_id="",
        policy_id="",
        step_id="",
        task_id=job.task.id,
        steps=played.turns,
        reward=played.reward,
        ended=played.ended,
        invalid_actions=played.invalid,
        unparsed=played.unparsed,
        prompt_tokens=played.prompt_tokens,
        completion_tokens=played.completion_tokens,
    )


async def in_lockstep(
    jobs: Sequence[Job], environments: Environments, agent: Agent, batch: int
) -> list[Outcome]:
    """Batches of rollouts that step together, as AgentGym and verl-agent play.

    All rollouts of a batch are opened. Then, until the last has ended, all wait in each turn for the slowest
    completion and for the slowest environment.
    """
    outcomes: list[Outcome] = []
    for start in range(0, len(jobs), batch):
        outcomes += await _lockstep_batch(jobs[start : start + batch], environments, agent)
    return outcomes


async def _lockstep_batch(jobs: Sequence[Job], environments: Environments, agent: Agent) -> list[Outcome]:
    started = time.perf_counter()
    episodes = await asyncio.gather(*(environments.open(job.task, job.history) for job in jobs))
    played = [Rollout() for _ in jobs]
    replies = {index: job.reply for index, job in enumerate(jobs)}
    while replies:
        await asyncio.gather(
            *(execute(episodes[i], agent.domain, played[i], reply) for i, reply in replies.items())
        )
        live = [i for i in replies if _goes_on(jobs[i], played[i])]
        asked = await asyncio.gather(*(_ask(jobs[i], episodes[i], played[i], agent) for i in live))
        replies = dict(zip(live, asked, strict=True))
    for episode in episodes:
        await episode.close()
    return [_outcome(one, time.perf_counter() - started) for one in played]


def _goes_on(job: Job, played: Rollout) -> bool:
    return played.ended is not Ended.DONE and len(job.history) + len(played.steps) < job.task.step_limit


async def _ask(job: Job, episode: Episode, played: Rollout, agent: Agent) -> Reply:
    messages = agent.prompt(episode.instruction, [*job.history, *played.steps])
    completion = await agent.model.complete(messages, Sampling(0.0, agent.max_tokens))
    played.completion_tokens += completion.completion_tokens
    return parse_completion(completion)


def arms(cores: int, max_concurrency: int) -> dict[str, Arm]:
    """The arms by name, (a) to (d)."""
    return {
        "a: one by one": partial(concurrently, max_concurrency=1),
        "b: a process a core": partial(concurrently, max_concurrency=cores),
        "c: in lockstep": partial(in_lockstep, batch=max_concurrency),
        "d: ours": partial(as_a_stage, max_concurrency=max_concurrency),
    }
