"""Test-time search: more samples for a test task, without another model to judge them.

Best-of-N plays a task N times. The methods of the paper's Table 5 pick one of the episodes by a trained
reward model; without one, the environment's own reward picks it, which is an upper bound: *oracle* best-of-N.
Voting samples N turns at every step and executes the action that most of them choose (Wang et al., 2023, by
step).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from sand_dagster.execution.units import Finished, Stage, Unit, run_units
from sand_dagster.ids import derive_seed, identify
from sand_dagster.interfaces import Domain, Environments, Generator
from sand_dagster.prompts.turns import parse_completion
from sand_dagster.rows.search import SearchEpisodeRow, SearchMode
from sand_dagster.sand.episode import Agent, play_task
from sand_dagster.sand.settings import SearchSettings
from sand_dagster.types import Completion, Message, Sampling, Task


@dataclass(slots=True)
class Voting:
    """A generator whose completion is the vote of `n` samples of `model`; its tokens are those of all.

    Actions that `domain` normalises to the same text are one. Of those with most votes the one that was
    sampled first wins, with its own thought. A sample without an action has no vote; if none has an action,
    the first is returned.
    """

    model: Generator
    domain: Domain
    n: int
    model_id: str = field(init=False)

    def __post_init__(self) -> None:
        self.model_id = self.model.model_id

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """The completion with the action that most samples choose.

        Raises:
            PromptTooLong: as the model.
        """
        seeds = [derive_seed(sampling.seed, "vote", number) for number in range(self.n)]
        samples = await asyncio.gather(
            *(self.model.complete(messages, replace(sampling, seed=seed)) for seed in seeds)
        )
        actions = [parse_completion(sample).action for sample in samples]
        votes = Counter(self.domain.normalise(action) for action in actions if action is not None)
        chosen = samples[0]
        if votes:
            # The most frequent one; Counter keeps the order of the first votes among equals.
            winner = votes.most_common(1)[0][0]
            chosen = next(
                sample
                for sample, action in zip(samples, actions, strict=True)
                if action is not None and self.domain.normalise(action) == winner
            )
        return replace(
            chosen,
            prompt_tokens=sum(sample.prompt_tokens for sample in samples),
            completion_tokens=sum(sample.completion_tokens for sample in samples),
        )


async def search(
    stage: Stage, tasks: Sequence[Task], environments: Environments, agent: Agent, settings: SearchSettings
) -> Finished[SearchEpisodeRow]:
    """The episodes of every mode: N of each task for best-of-N, one of each for voting."""

    def units() -> Iterator[Unit[SearchEpisodeRow]]:
        for mode in settings.modes:
            for task in tasks:
                for sample in range(_episodes(mode, settings.n)):
                    unit = (
                        *(mode.value, settings.n, sample, settings.temperature),
                        *(agent.id, task.id, task.step_limit, agent.max_tokens),
                    )
                    id = identify("search_episodes", *unit)
                    work = partial(_search_one, stage, id, mode, sample, task, environments, agent, settings)
                    yield Unit(stage.key(id, task, agent.example, agent.model.model_id), work)

    total = len(tasks) * sum(_episodes(mode, settings.n) for mode in settings.modes)
    return await run_units(stage, SearchEpisodeRow, units(), total)


def _episodes(mode: SearchMode, n: int) -> int:
    return 1 if mode is SearchMode.VOTE else n


async def _search_one(
    stage: Stage,
    id: str,
    mode: SearchMode,
    sample: int,
    task: Task,
    environments: Environments,
    agent: Agent,
    settings: SearchSettings,
) -> tuple[list[SearchEpisodeRow], str]:
    votes = mode is SearchMode.VOTE
    player = replace(agent, model=Voting(agent.model, agent.domain, settings.n)) if votes else agent
    instruction, played = await play_task(
        task,
        environments,
        player,
        temperature=settings.temperature,
        seed=partial(derive_seed, stage.seed, stage.iteration, "search", mode.value, task.id, sample),
    )
    row = SearchEpisodeRow(
        search_episode_id=id,
        checkpoint_id=agent.id,
        task_id=task.id,
        mode=mode,
        n=settings.n,
        sample=sample,
        split=task.split,
        kind=task.kind,
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
