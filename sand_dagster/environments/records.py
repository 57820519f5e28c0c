"""Trajectory files in ETO's format: a JSON list of conversations, one for each task.

Two spellings of a turn are in circulation, `{"from": "human" | "gpt", "value"}` and
`{"role": "user" | "assistant", "content"}`; both are read, the second is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sand_dagster.sand.identity import identify
from sand_dagster.sand.interfaces import Domain
from sand_dagster.sand.turns import conversation, parse_reply
from sand_dagster.sand.types import Step, Task, Trajectory

_TASK_OPENINGS = ("You are in the middle of a room", "Task Description:")
_OBSERVATION = "Observation: "
_SHOWN = 80


class RecordError(ValueError):
    """A trajectory file, or a row of it, is not what it should be. Names the file, the row and the turn."""


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation: the task's text u and its steps, the prompt taken off.

    `game` is the record's `game_file` (ALFWorld's folder of the game), empty where it has none. The last
    step's observation is empty where the conversation ends with the agent's turn, as the published ones do.
    """

    id: str
    game: str
    instruction: str
    steps: tuple[Step, ...]


class _Turn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["user", "assistant", "human", "gpt"] | None = None
    content: str | None = None
    sender: Literal["user", "assistant", "human", "gpt"] | None = Field(None, alias="from")
    value: str | None = None

    @property
    def agents(self) -> bool:
        return (self.role or self.sender) in ("assistant", "gpt")

    @property
    def text(self) -> str:
        return (self.content if self.content is not None else self.value) or ""


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str | int
    game_file: str = ""
    conversations: list[_Turn]


def read_records(path: Path) -> Iterator[Record]:
    """The conversations of a file, in its order.

    Raises:
        RecordError: the file is not a JSON list of conversations, or a row is malformed.
    """
    for index, content in enumerate(_rows(path)):
        try:
            row = _Row.model_validate(content)
            instruction, steps = _read_turns(row.conversations)
        except (ValidationError, RecordError) as error:
            raise RecordError(
                f"{path}, row {index}: {error}\nexpected ETO's format: "
                "{'id', 'game_file', 'conversations': [{'role', 'content'} or {'from', 'value'}, …]}"
            ) from error
        yield Record(str(row.id), row.game_file, instruction, steps)


def trajectory(record: Record, task: Task, reward: float = 1.0) -> Trajectory:
    """A record as the expert's trajectory e of `task`."""
    return Trajectory(identify("expert", task.id, record.id), task, record.instruction, record.steps, reward)


def write_records(path: Path, domain: Domain, trajectories: Iterable[Trajectory]) -> int:
    """Write trajectories so that `read_records`, and ETO's own training script, read them. Returns how many.

    The prompt of Figure 7 or 8 and the task's text are one turn, as the agent sees them.
    """
    rows = [
        {
            "id": each.task.id,
            "game_file": str(each.task.spec.get("game", "")),
            "reward": each.reward,
            "conversations": conversation(domain, each.instruction, each.steps),
        }
        for each in trajectories
    ]
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return len(rows)


def _rows(path: Path) -> list[object]:
    try:
        rows: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordError(
            f"there is no trajectory file {path}; name one that is there, or leave it out"
        ) from error
    except ValueError as error:
        raise RecordError(f"{path} is not a whole JSON file: {error}") from error
    if not isinstance(rows, list):
        raise RecordError(f"{path}: expected a JSON list of conversations, found {type(rows).__name__}")
    return rows


def _read_turns(turns: list[_Turn]) -> tuple[str, tuple[Step, ...]]:
    for index, turn in enumerate(turns):
        if turn.role is None and turn.sender is None:
            raise RecordError(f"turn {index}: it has neither `role` nor `from`")
        if turn.content is None and turn.value is None:
            raise RecordError(f"turn {index}: it has neither `content` nor `value`")
    # Before the first action stand the prompt, answered with "OK", and the task; or both in one turn.
    first = next((i for i, t in enumerate(turns) if t.agents and parse_reply(t.text).action), None)
    if first is None:
        raise RecordError("no turn of the agent holds an `Action:` line")
    if first == 0 or turns[first - 1].agents:
        raise RecordError(f"turn {first}: the agent acts before it was given a task")
    steps: list[Step] = []
    for index in range(first, len(turns), 2):
        turn = turns[index]
        if not turn.agents:
            raise RecordError(f"turn {index}: expected the agent's turn, found {turn.text[:_SHOWN]!r}")
        reply = parse_reply(turn.text)
        observation = ""
        if index + 1 < len(turns):
            if turns[index + 1].agents:
                raise RecordError(f"turn {index + 1}: expected an observation, found the agent's turn")
            observation = turns[index + 1].text.removeprefix(_OBSERVATION)
        steps.append(Step(reply.thought, reply.action or "", observation))
    return _task_text(turns[first - 1].text), tuple(steps)


def _task_text(text: str) -> str:
    """The task's text u of a turn that may hold the prompt, and an example, before it."""
    return text[max(0, *(text.rfind(opening) for opening in _TASK_OPENINGS)) :]
