"""A taskset and environment for verifiers (its v1 interface); needs the extra `verifiers`.

Its identifier is `alfworld-verifiers`: `vf-eval alfworld-verifiers --env.taskset.games '["…/train"]'`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import verifiers.v1 as vf
from pydantic import Field

from alfworld_compiled.episode import REFUSAL
from alfworld_compiled.games import find_games, kind_of
from alfworld_compiled.play import STEP_LIMIT, Play

__all__ = ["AlfworldEnv", "AlfworldTaskset"]

SYSTEM_PROMPT = (
    "You are in a house and have a task to do there. Think first, then end each reply with one line "
    "`Action: …` that says what you do. Actions are spelt exactly, such as: go to desk 1, open drawer 2, "
    "take mug 1 from desk 1, move mug 1 to shelf 1, use desklamp 1, heat mug 1 with microwave 1, cool mug 1 "
    "with fridge 1, clean mug 1 with sinkbasin 1, examine mug 1, look, inventory."
)
_MARK = "Action:"


class AlfworldConfig(vf.TasksetConfig):
    """The games of the taskset."""

    games: list[Path] = Field(description="game files, and folders with some at any depth")
    cache: Path | None = Field(None, description="folder of compiled games; default: the package's own")


class AlfworldData(vf.TaskData):
    """A game: the prompt is its first observation."""

    game: str
    """The path of its file."""

    kind: str
    """Its task type, such as `pick_and_place_simple`."""


class AlfworldTask(vf.Task[AlfworldData, vf.State, vf.TaskConfig]):
    """A game; the environment scores it."""


class AlfworldTaskset(vf.Taskset[AlfworldTask, AlfworldConfig]):
    """The games of a configuration, one task each, compiled when they are read."""

    def load(self) -> Iterator[AlfworldTask]:
        for game in find_games(self.config.games):
            prompt = Play.start(game, None, self.config.cache).observation
            kind, name = kind_of(game.as_posix()), f"{game.parents[1].name}/{game.parent.name}"
            data = AlfworldData(
                name=name, prompt=prompt, system_prompt=SYSTEM_PROMPT, game=str(game), kind=kind
            )
            yield AlfworldTask(data, self.config.task)


class AlfworldEnvConfig(vf.EnvConfig):
    """The agent, and its step limit."""

    player: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"}, runtime={"type": "subprocess"})
    """It answers in text: it has no tools and runs no code, so it needs no container."""

    step_limit: int = Field(STEP_LIMIT, ge=1, description="actions in an episode")


class AlfworldEnv(vf.Env[AlfworldEnvConfig]):
    """Plays a game with the agent: the reward `won` is 1 if the goal was reached."""

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        cache = self.taskset.config.cache
        play = await asyncio.to_thread(Play.start, Path(task.data.game), self.config.step_limit, cache)
        steps = refused = 0
        async with agents.player.interaction(task) as interaction:
            segment = await interaction.turn()
            while not segment.terminated:
                observation = play.step(action_in(segment.last_reply))
                steps += 1
                refused += observation == REFUSAL
                if play.done:
                    break
                segment = await interaction.turn(observation)
        interaction.trace.record_reward("won", play.score, 1.0)
        interaction.trace.record_metric("steps", float(steps))
        interaction.trace.record_metric("refused_actions", float(refused))


def action_in(reply: str) -> str:
    """The action in a reply: the text after the last `Action:` on its line, else the last line."""
    _, mark, after = reply.rpartition(_MARK)
    lines = (after if mark else reply).strip().splitlines()
    return (lines[0 if mark else -1]).strip() if lines else ""
