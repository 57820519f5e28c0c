"""Playing a task: the policy acts until the environment is done or the step limit is reached (Section 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sand_dagster.interfaces import Domain, Environments, Episode, Generator, PromptTooLong
from sand_dagster.outcomes import Ended
from sand_dagster.prompts.turns import Reply, conversation, parse_completion, turn_messages
from sand_dagster.rows.steps import Turn
from sand_dagster.types import Message, Sampling, Step, Task, Trajectory


@dataclass(slots=True)
class Rollout:
    """What was played from where the episode stood: one entry in each list a turn."""

    steps: list[Step] = field(default_factory=list)
    valid: list[bool] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    ended: Ended = Ended.STEP_LIMIT
    unparsed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def reward(self) -> float:
        """r: the reward after the last turn, in [0, 1]; 0 where none was played."""
        return self.rewards[-1] if self.rewards else 0.0

    @property
    def invalid(self) -> int:
        """Turns that the environment refused; a reply without an action is one."""
        return self.valid.count(False)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns as the tables hold them."""
        return turns_of(self.steps, self.valid)


def turns_of(steps: Sequence[Step], valid: Sequence[bool]) -> tuple[Turn, ...]:
    """`steps`, and of each whether the environment accepted its action."""
    return tuple(
        Turn(thought=step.thought, action=step.action, observation=step.observation, valid=accepted)
        for step, accepted in zip(steps, valid, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Agent:
    """π: a model that acts in an environment's words.

    `id` is that of the policy or checkpoint, for the rows that it leaves. `max_tokens` bounds a turn.
    `example` is the one shot of the `eto` protocol.
    """

    id: str
    model: Generator
    domain: Domain
    max_tokens: int
    example: Trajectory | None = None

    def prompt(self, instruction: str, history: Sequence[Step]) -> list[Message]:
        """h_{t-1} as the model sees it."""
        return conversation(self.domain, instruction, history, self.example)


async def execute(episode: Episode, domain: Domain, played: Rollout, reply: Reply) -> bool:
    """Execute one turn and record it; returns whether the episode is over.

    A reply without an action does not reach the environment: it costs a turn and is answered with the
    environment's refusal.
    """
    if reply.action is None:
        played.unparsed += 1
        played.steps.append(Step(reply.thought, "", domain.refusal))
        played.valid.append(False)
        played.rewards.append(played.reward)
        return False
    result = await episode.step(reply.action)
    played.steps.append(Step(reply.thought, reply.action, result.observation))
    played.valid.append(result.valid)
    played.rewards.append(result.reward)
    if result.done:
        played.ended = Ended.DONE
    return result.done


async def run_episode(
    episode: Episode,
    agent: Agent,
    history: Sequence[Step],
    played: Rollout,
    *,
    temperature: float,
    seed: Callable[[int], int],
    step_limit: int,
) -> Rollout:
    """Let `agent` play until the episode is done, `step_limit` turns are spent, or the context is full.

    `history` is h_{t-1}, which the episode has already replayed; `played` may hold turns already executed
    (the candidate's). The limit counts both. `seed(index)` is the sampling seed of the turn `index`.
    """
    messages = agent.prompt(episode.instruction, [*history, *played.steps])
    while played.ended is not Ended.DONE and len(history) + len(played.steps) < step_limit:
        index = len(history) + len(played.steps)
        try:
            sampling = Sampling(temperature, agent.max_tokens, seed(index))
            completion = await agent.model.complete(messages, sampling)
        except PromptTooLong:
            played.ended = Ended.PROMPT_TOO_LONG
            return played
        played.prompt_tokens += completion.prompt_tokens
        played.completion_tokens += completion.completion_tokens
        await execute(episode, agent.domain, played, parse_completion(completion))
        messages += turn_messages(played.steps[-1])
    return played


async def play_task(
    task: Task,
    environments: Environments,
    agent: Agent,
    *,
    temperature: float,
    seed: Callable[[int], int],
) -> tuple[str, Rollout]:
    """Let `agent` play `task` from its start; returns the instruction u and what was played."""
    episode = await environments.open(task)
    try:
        played = await run_episode(
            episode, agent, (), Rollout(), temperature=temperature, seed=seed, step_limit=task.step_limit
        )
        return episode.instruction, played
    finally:
        await episode.close()
