"""Exploration of the training tasks, and what RFT and ETO make of it.

RFT (Yuan et al., 2023): finetune on the policy's own won episodes, together with the experts'. ETO (Song et
al., 2024, Section 3.3): pair each episode with the expert's trajectory of the same task, and prefer the one
with the higher reward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from sand_dagster.execution.units import Finished, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, identify
from sand_dagster.interfaces import Environments
from sand_dagster.rows.explorations import ExplorationRow
from sand_dagster.sand.episode import Agent, play_task
from sand_dagster.sand.settings import ExplorationSettings
from sand_dagster.sand.training_data import Learnt, TrainingData
from sand_dagster.sand.trajectories import Demonstration
from sand_dagster.types import Task


async def explore(
    stage: Stage,
    tasks: Sequence[Task],
    environments: Environments,
    agent: Agent,
    settings: ExplorationSettings,
) -> Finished[ExplorationRow]:
    """`settings.n` episodes of π_k on each of `tasks`, from the start."""

    def units() -> Iterator[Unit[ExplorationRow]]:
        for task in tasks:
            for sample in range(settings.n):
                exploration_id = identify(
                    "explorations",
                    agent.id,
                    task.id,
                    task.step_limit,
                    agent.max_tokens,
                    settings.temperature,
                    sample,
                )
                work = partial(
                    _explore_one, stage, exploration_id, task, sample, environments, agent, settings
                )
                yield Unit(stage.key(exploration_id, task, agent.example, agent.model.model_id), work)

    return await run_units(stage, ExplorationRow, units(), len(tasks) * settings.n)


async def _explore_one(
    stage: Stage,
    exploration_id: str,
    task: Task,
    sample: int,
    environments: Environments,
    agent: Agent,
    settings: ExplorationSettings,
) -> tuple[list[ExplorationRow], str]:
    instruction, played = await play_task(
        task,
        environments,
        agent,
        temperature=settings.temperature,
        seed=partial(derive_seed, stage.seed, stage.iteration, "exploration", task.id, sample),
    )
    row = ExplorationRow(
        exploration_id=exploration_id,
        policy_id=agent.id,
        task_id=task.id,
        sample=sample,
        instruction=instruction,
        steps=played.turns,
        reward=played.reward,
        ended=played.ended,
        invalid_actions=played.invalid,
        unparsed=played.unparsed,
        prompt_tokens=played.prompt_tokens,
        completion_tokens=played.completion_tokens,
    )
    return [row], played.ended


def experts_and_wins(experts: Sequence[Demonstration], explored: Iterable[ExplorationRow]) -> TrainingData:
    """What RFT finetunes on: the experts' trajectories, then each distinct won exploration.

    An exploration with a turn that the environment refused is left out: its refused actions would be learnt.
    """
    wins = [
        Learnt.exploration(own)
        for own in _distinct(explored, experts)
        if own.reward >= 1.0 and all(turn.valid for turn in own.steps)
    ]
    return TrainingData([*map(Learnt.demonstration, experts), *wins])


def preferences(experts: Sequence[Demonstration], explored: Iterable[ExplorationRow]) -> TrainingData:
    """ETO's pairs: each distinct exploration with the expert's trajectory of its task, the better one chosen.

    Equal rewards make no pair. Of several expert trajectories of a task the first with the highest reward
    counts. An exploration without a turn makes none: there is nothing to prefer.
    """
    best: dict[str, Demonstration] = {}
    for expert in experts:
        if expert.task_id not in best or expert.reward > best[expert.task_id].reward:
            best[expert.task_id] = expert
    chosen, rejected = [], []
    for own in _distinct(explored, experts):
        if own.task_id not in best or not own.steps or own.reward == best[own.task_id].reward:
            continue
        theirs, mine = Learnt.demonstration(best[own.task_id]), Learnt.exploration(own)
        won = mine.reward > theirs.reward
        chosen.append(mine if won else theirs)
        rejected.append(theirs if won else mine)
    return TrainingData(chosen, rejected)


def _distinct(
    explored: Iterable[ExplorationRow], experts: Sequence[Demonstration]
) -> Iterator[ExplorationRow]:
    """`explored` without those that write the same as one before, or as an expert."""
    seen = {(expert.task_id, *expert.history(len(expert.rows))) for expert in experts}
    for row in explored:
        text = (row.task_id, *row.played)
        if text not in seen:
            seen.add(text)
            yield row
