"""Expert trajectories in ETO's format: a JSON list of conversations, one for each game."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sand_dagster.environments.alfworld.environment import as_published
from sand_dagster.sand.identity import identify
from sand_dagster.sand.turns import parse_reply
from sand_dagster.sand.types import Step, Task, Trajectory

_GAME = re.compile(r"(?:^|/)json_2\.1\.1/(?P<game>.+)$")
_AGENT = ("assistant", "gpt")


class ExpertError(ValueError):
    """The expert file, or a row of it, is not what it should be. Says which row, and why."""


class _Turn(BaseModel):
    """A turn in one of the two spellings in circulation: `role`/`content`, or `from`/`value`."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    role: Literal["user", "assistant", "human", "gpt"] | None = None
    content: str | None = None
    sender: Literal["user", "assistant", "human", "gpt"] | None = Field(None, alias="from")
    value: str | None = None

    def read(self) -> tuple[bool, str]:
        """Whether the agent speaks, and what."""
        who, text = self.role or self.sender, self.content if self.content is not None else self.value
        if who is None or text is None:
            raise ExpertError("a turn needs `role` and `content`, or `from` and `value`")
        return who in _AGENT, text


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str | int
    game_file: str
    conversations: list[_Turn]


def read_experts(
    path: Path, tasks: Sequence[Task], reword: Callable[[Task, str], str]
) -> Iterator[Trajectory]:
    """The trajectories of `path` whose game is among `tasks`, in the file's order.

    `reword` puts an observation into the words that the task's environment uses (the published data has the
    older grammar). The last step's observation is empty where the conversation ends with the agent's turn.
    All published trajectories win, so their reward is 1.

    Raises:
        ExpertError: the file is not a JSON list, or a row is malformed; names the row.
    """
    by_game: Mapping[str, Task] = {_game_folder(str(task.spec["game"])): task for task in tasks}
    for index, row in enumerate(_rows(path)):
        try:
            record = _Record.model_validate(row)
            task = by_game.get(_game_folder(record.game_file))
            if task is None:
                continue
            yield _trajectory(record, task, reword)
        except (ValidationError, ExpertError) as error:
            raise ExpertError(
                f"{path}, row {index}: {error}\n"
                "expected ETO's format: {'id', 'game_file', 'conversations': [{'role', 'content'}, …]}"
            ) from error


def _rows(path: Path) -> list[object]:
    try:
        rows: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExpertError(f"there is no expert file {path}; set `experts`, or leave it out") from error
    except ValueError as error:
        raise ExpertError(f"{path} is not a whole JSON file: {error}") from error
    if not isinstance(rows, list):
        raise ExpertError(f"{path}: expected a JSON list of conversations, found {type(rows).__name__}")
    return rows


def _game_folder(game: str) -> str:
    """`train/<task>/<trial>` of a game's path, whatever stands before `json_2.1.1/` and after the trial."""
    found = _GAME.search(game)
    parts = PurePosixPath(found["game"] if found else game).parts
    return "/".join(parts[:-1] if parts and parts[-1].endswith(".tw-pddl") else parts)


def _trajectory(record: _Record, task: Task, reword: Callable[[Task, str], str]) -> Trajectory:
    turns = [turn.read() for turn in record.conversations]
    start = next((i for i, (agent, text) in enumerate(turns) if not agent and _goal_in(text)), None)
    if start is None:
        raise ExpertError("no user turn holds `Your task is to:`")
    instruction = reword(task, as_published(_from_room(turns[start][1])))
    steps: list[Step] = []
    rest = turns[start + 1 :]
    for position in range(0, len(rest), 2):
        agent, text = rest[position]
        reply = parse_reply(text)
        if not agent or reply.action is None:
            raise ExpertError(
                f"turn {start + 1 + position}: expected the agent's `Action:`, found {text[:80]!r}"
            )
        observation = ""
        if position + 1 < len(rest):
            agent, observation = rest[position + 1]
            if agent:
                raise ExpertError(f"turn {start + 2 + position}: expected an observation, found the agent")
            observation = reword(task, as_published(observation.removeprefix("Observation: ")))
        steps.append(Step(reply.thought, reply.action, observation))
    if not steps:
        raise ExpertError("no step follows the task")
    return Trajectory(identify("expert", task.id, str(record.id)), task, instruction, steps, 1.0)


def _goal_in(text: str) -> bool:
    return "Your task is to:" in text


def _from_room(text: str) -> str:
    """The task's text u of a turn that may hold the whole prompt before it."""
    return text[text.rfind("You are in the middle of a room") :] if "You are in the middle" in text else text
