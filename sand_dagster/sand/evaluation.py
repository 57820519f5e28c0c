"""Evaluation: every test task played once at temperature 0 (Section 5.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from sand_dagster.execution.units import Finished, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, identify
from sand_dagster.interfaces import Environments
from sand_dagster.prompts.figures import is_deliberation
from sand_dagster.rows.evaluation import EpisodeRow
from sand_dagster.sand.episode import Agent, play_task
from sand_dagster.types import Task


async def evaluate(
    stage: Stage, tasks: Sequence[Task], environments: Environments, agent: Agent, temperature: float
) -> Finished[EpisodeRow]:
    """One episode a task. The agent samples one turn a step, and nothing else."""

    def units() -> Iterator[Unit[EpisodeRow]]:
        for task in tasks:
            episode_id = identify(
                "eval_episodes", agent.id, task.id, task.step_limit, agent.max_tokens, temperature
            )
            work = partial(_evaluate_one, stage, episode_id, task, environments, agent, temperature)
            yield Unit(stage.key(episode_id, task, agent.example, agent.model.model_id), work)

    return await run_units(stage, EpisodeRow, units(), len(tasks))


async def _evaluate_one(
    stage: Stage,
    episode_id: str,
    task: Task,
    environments: Environments,
    agent: Agent,
    temperature: float,
) -> tuple[list[EpisodeRow], str]:
    instruction, played = await play_task(
        task,
        environments,
        agent,
        temperature=temperature,
        seed=partial(derive_seed, stage.seed, stage.iteration, "evaluation", task.id),
    )
    row = EpisodeRow(
        episode_id=episode_id,
        checkpoint_id=agent.id,
        task_id=task.id,
        split=task.split,
        kind=task.kind,
        instruction=instruction,
        steps=played.turns,
        rewards=tuple(played.rewards),
        reward=played.reward,
        ended=played.ended,
        deliberations=sum(is_deliberation(step.thought) for step in played.steps),
        invalid_actions=played.invalid,
        unparsed=played.unparsed,
        prompt_tokens=played.prompt_tokens,
        completion_tokens=played.completion_tokens,
    )
    return [row], played.ended
