"""Trajectory files in ETO's format: a JSON list of conversations, one for each task.

Two spellings of a turn are in circulation, `{"from": "human" | "gpt", "value"}` and
`{"role": "user" | "assistant", "content"}`; both are read, the second is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic_core import ErrorDetails

from sand_dagster.ids import identify
from sand_dagster.interfaces import Domain
from sand_dagster.prompts.turns import Reply, conversation, parse_reply
from sand_dagster.recordings.recording import Recording
from sand_dagster.types import Step, Task, Trajectory

_OBSERVATION = "Observation: "
_ACTION = "Action:"
_SHOWN, _NAMED = 80, 3
_BETWEEN_ROWS = re.compile(r"[\s,\[\]]*")
_ROW_START = re.compile(r'\{\s*"(?:id|game_file)"\s*:')
_FORMAT = (
    "expected ETO's format: "
    "[{'id', 'game_file', 'conversations': [{'role', 'content'} or {'from', 'value'}, …]}, …]"
)


class RecordError(ValueError):
    """Nothing in a trajectory file can be used. The message names the file, the problem, and what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation: the task's text u and its steps, without the prompt.

    `row` is its place in the file, from 0. `game` is the record's `game_file` (ALFWorld's folder of the
    game), empty if it has none; `reward` is None if it has none. The last step's observation is empty
    where the conversation ends with the agent's turn, as the published ones do.
    """

    row: int
    id: str
    game: str
    instruction: str
    steps: tuple[Step, ...]
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """A row of a trajectory file that is not a trajectory, and why."""

    row: int
    problem: str


class _Broken(ValueError):
    """What is wrong with one row."""


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
    reward: FiniteFloat | None = None
    conversations: list[_Turn]


def read_records(path: Path, opening: str = "") -> list[Record | Malformed]:
    """The rows of a file, in its order: conversations, and what cannot be read as one.

    If a file is damaged inside a row, reading continues at the start of the next row. JSON lines are also
    read. `opening` is the start of every instruction u (see `Domain`): text before it in its turn, which is
    the prompt and perhaps an example, is removed.

    Raises:
        RecordError: there is no such file, it is not JSON, or none of its rows is a conversation.
    """
    rows = [_record(index, content, opening) for index, content in enumerate(_contents(path))]
    if not rows:
        raise RecordError(f"{path} has no trajectories: give another file, or leave it out; {_FORMAT}")
    if all(isinstance(row, Malformed) for row in rows):
        first = rows[0]
        assert isinstance(first, Malformed)
        raise RecordError(
            f"{path}: none of its {len(rows)} rows is a trajectory. "
            f"The first, row 0: {first.problem}; {_FORMAT}"
        )
    return rows


def _record(index: int, content: object, opening: str) -> Record | Malformed:
    if isinstance(content, _Broken):
        return Malformed(index, str(content))
    try:
        row = _Row.model_validate(content)
        instruction, steps = _read_turns(row.conversations, opening)
    except ValidationError as error:
        found = error.errors(include_url=False)
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return Malformed(index, "; ".join(map(_said, found[:_NAMED])) + more)
    except _Broken as error:
        return Malformed(index, str(error))
    return Record(index, str(row.id), row.game_file, instruction, steps, row.reward)


def _said(error: ErrorDetails) -> str:
    where = ".".join(map(str, error["loc"])) or "the row"
    found = "" if error["type"] == "missing" else f", found {error['input']!r}"[:_SHOWN]
    return f"{where}: {error['msg']}{found}"


def recording(record: Record, task: Task) -> Recording:
    """A record as a recorded trajectory of `task`, to be replayed."""
    found = Trajectory(
        identify("expert", task.id, record.id), task, record.instruction, record.steps, record.reward or 0.0
    )
    return Recording(record.row, record.id, found, record.reward)


def write_records(path: Path, domain: Domain, trajectories: Iterable[Trajectory]) -> int:
    """Write trajectories in a form that `read_records` and ETO's own training script read. Returns how many.

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
    partial = path.with_name(f"{path.name}.writing")
    partial.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    partial.replace(path)
    return len(rows)


def _contents(path: Path) -> Iterator[object]:
    """The rows' JSON values, with a `_Broken` for each row that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise RecordError(
            f"there is no trajectory file {path}; give an existing one, or leave it out"
        ) from error
    except ValueError as error:
        raise RecordError(f"{path} is not a JSON file: {error}; {_FORMAT}") from error
    try:
        rows: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not text.lstrip().startswith(("[", "{")):
            raise RecordError(f"{path} is not a JSON file: {error}; {_FORMAT}") from error
        yield from _rows_of_torn(text)
        return
    if isinstance(rows, dict) and "conversations" in rows:
        rows = [rows]
    if not isinstance(rows, list):
        raise RecordError(f"{path}: expected a JSON list, found {type(rows).__name__}; {_FORMAT}")
    yield from rows


def _rows_of_torn(text: str) -> Iterator[object]:
    decoder = json.JSONDecoder()
    place = 0
    while True:
        between = _BETWEEN_ROWS.match(text, place)
        assert between is not None
        place = between.end()
        if place == len(text):
            return
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            yield _Broken(f"not whole JSON: {error}")
            following = _ROW_START.search(text, place + 1)
            if following is None:
                return
            place = following.start()
        else:
            yield value


def _read_turns(turns: list[_Turn], opening: str) -> tuple[str, tuple[Step, ...]]:
    for index, turn in enumerate(turns):
        if turn.role is None and turn.sender is None:
            raise _Broken(f"turn {index}: it has neither `role` nor `from`")
        if turn.content is None and turn.value is None:
            raise _Broken(f"turn {index}: it has neither `content` nor `value`")
    # Before the first action there is the prompt, answered with "OK", and the task; or both in one turn.
    first = next((i for i, t in enumerate(turns) if t.agents and _reply(t.text).action), None)
    if first is None:
        raise _Broken("no turn of the agent holds an `Action:` line")
    if first == 0 or turns[first - 1].agents:
        raise _Broken(f"turn {first}: the agent acts before it was given a task")
    steps: list[Step] = []
    for index in range(first, len(turns), 2):
        turn = turns[index]
        if not turn.agents:
            raise _Broken(f"turn {index}: expected the agent's turn, found {turn.text[:_SHOWN]!r}")
        reply = _reply(turn.text)
        observation = ""
        if index + 1 < len(turns):
            if turns[index + 1].agents:
                raise _Broken(f"turn {index + 1}: expected an observation, found the agent's turn")
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
