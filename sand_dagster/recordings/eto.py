"""Trajectories of files in ETO's format and its relatives: conversations, one for each task.

Two spellings of a turn are in circulation, `{"from": "human" | "gpt", "value"}` and
`{"role": "user" | "assistant", "content"}`; both are read. The list of turns is called `conversations`, or
`messages` as in the data sets that TRL reads. What we export also has the thoughts, actions and observations
on their own (`exports/records.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic_core import ErrorDetails

from sand_dagster.ids import identify
from sand_dagster.prompts.turns import Reply, parse_reply, turn_messages
from sand_dagster.recordings.contents import FORMAT, Broken, RecordError, rows_in
from sand_dagster.recordings.recording import Recording
from sand_dagster.types import Step, Task, Trajectory

_OBSERVATION = "Observation: "
_ACTION = "Action:"
_SHOWN, _NAMED = 80, 3
_OUR_ID = re.compile(r"[0-9a-f]{16}")

__all__ = ["Malformed", "Record", "RecordError", "read_records", "recording"]


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation: the task's text u and its steps, without the prompt.

    `row` is its place in the file, from 0. `game` is the record's `game_file` (ALFWorld's folder of the
    game), empty if it has none; `reward` is None if it has none; `task_id` and `trajectory_id` are those of
    our own export, empty in other files. The last step's observation is empty
    where the conversation ends with the agent's turn, as the published ones do.
    """

    row: int
    id: str
    game: str
    instruction: str
    steps: tuple[Step, ...]
    reward: float | None = None
    task_id: str = ""
    trajectory_id: str = ""


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row of a trajectory file that is not a trajectory, and why."""

    row: int
    problem: str


class _Turn(BaseModel):
    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant", "human", "gpt"] | None = None
    content: str | None = None
    sender: Literal["system", "user", "assistant", "human", "gpt"] | None = Field(None, alias="from")
    value: str | None = None

    @property
    def agents(self) -> bool:
        return (self.role or self.sender) in ("assistant", "gpt")

    @property
    def system(self) -> bool:
        return (self.role or self.sender) == "system"

    @property
    def text(self) -> str:
        return (self.content if self.content is not None else self.value) or ""


class _Step(BaseModel):
    model_config = ConfigDict(extra="ignore")

    thought: str
    action: str
    observation: str


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: str | int
    game_file: str = ""
    reward: FiniteFloat | None = None
    conversations: list[_Turn] = Field(validation_alias=AliasChoices("conversations", "messages"))
    task_id: str = ""
    trajectory_id: str = ""
    instruction: str = ""
    steps: list[_Step] = []

    def as_exported(self) -> tuple[str, tuple[Step, ...]] | None:
        """The instruction and the steps that stand on their own, if the conversation still says the same."""
        steps = tuple(Step(each.thought, each.action, each.observation) for each in self.steps)
        written = [message for step in steps for message in turn_messages(step)]
        said = [(turn.agents, turn.text) for turn in self.conversations]
        for messages in (written, written[:-1]):
            expected = [(message["role"] == "assistant", message["content"]) for message in messages]
            if not expected or len(said) <= len(expected) or said[-len(expected) :] != expected:
                continue
            if self.instruction and self.instruction in said[-len(expected) - 1][1]:
                return self.instruction, steps
        return None


def read_records(path: Path, opening: str = "") -> list[Record | Malformed]:
    """The rows of a file, in its order: conversations, and what cannot be read as one.

    A file is JSON, JSON lines or Parquet, or a folder with Parquet files. If JSON is damaged inside a row,
    reading continues at the start of the next row. `opening` is the start of every instruction u (see
    `Domain`): text before it in its turn, which is the prompt and perhaps an example, is removed.

    Raises:
        RecordError: there is no such file, it has another format, or none of its rows is a conversation.
    """
    rows = [_record(index, content, opening) for index, content in enumerate(rows_in(path))]
    if not rows:
        raise RecordError(f"{path} has no trajectories: give another file, or leave it out; {FORMAT}")
    if all(isinstance(row, Malformed) for row in rows):
        first = rows[0]
        assert isinstance(first, Malformed)
        raise RecordError(
            f"{path}: none of its {len(rows)} rows is a trajectory. "
            f"The first, row 0: {first.problem}; {FORMAT}"
        )
    return rows


def _record(index: int, content: object, opening: str) -> Record | Malformed:
    if isinstance(content, Broken):
        return Malformed(index, str(content))
    try:
        row = _Row.model_validate(content)
        instruction, steps = row.as_exported() or _read_turns(row.conversations, opening)
    except ValidationError as error:
        found = error.errors(include_url=False)
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return Malformed(index, "; ".join(map(_said, found[:_NAMED])) + more)
    except Broken as error:
        return Malformed(index, str(error))
    ours = row.trajectory_id if _OUR_ID.fullmatch(row.trajectory_id) else ""
    return Record(index, str(row.id), row.game_file, instruction, steps, row.reward, row.task_id, ours)


def _said(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"])) or "the row"
    found = "" if error["type"] == "missing" else f", found {error['input']!r}"[:_SHOWN]
    return f"{where}: {error['msg']}{found}"


def recording(record: Record, task: Task) -> Recording:
    """A record as a recorded trajectory of `task`, to be replayed. One that we exported keeps its id."""
    ours = record.trajectory_id or identify("expert", task.id, record.id)
    found = Trajectory(ours, task, record.instruction, record.steps, record.reward or 0.0)
    return Recording(record.row, record.id, found, record.reward)


def _read_turns(turns: list[_Turn], opening: str) -> tuple[str, tuple[Step, ...]]:
    for index, turn in enumerate(turns):
        if turn.role is None and turn.sender is None:
            raise Broken(f"turn {index}: it has neither `role` nor `from`")
        if turn.content is None and turn.value is None:
            raise Broken(f"turn {index}: it has neither `content` nor `value`")
        if turn.system and index:
            raise Broken(f"turn {index}: a system turn may only be the first")
    # Before the first action there is the prompt, answered with "OK", and the task; or both in one turn.
    first = next((i for i, t in enumerate(turns) if t.agents and _reply(t.text).action), None)
    if first is None:
        raise Broken("no turn of the agent holds an `Action:` line")
    if first == 0 or turns[first - 1].agents or turns[first - 1].system:
        raise Broken(f"turn {first}: the agent acts before it was given a task")
    steps: list[Step] = []
    for index in range(first, len(turns), 2):
        turn = turns[index]
        if not turn.agents:
            raise Broken(f"turn {index}: expected the agent's turn, found {turn.text[:_SHOWN]!r}")
        reply = _reply(turn.text)
        observation = ""
        if index + 1 < len(turns):
            if turns[index + 1].agents:
                raise Broken(f"turn {index + 1}: expected an observation, found the agent's turn")
            observation = turns[index + 1].text.removeprefix(_OBSERVATION)
        steps.append(Step(reply.thought, reply.action or "", observation))
    shown = turns[first - 1].text
    return shown[max(0, shown.rfind(opening)) if opening else 0 :], tuple(steps)


def _reply(text: str) -> Reply:
    """A turn of the agent. If thought and action are on one line, the action is the text after the first
    `Action:`, as in ETO's environments."""
    reply = parse_reply(text)
    before, marker, after = text.partition(_ACTION)
    if reply.action is not None or not marker or not after.strip():
        return reply
    return Reply(parse_reply(before).thought, after.strip().splitlines()[0].strip())
