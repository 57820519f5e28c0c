import json
import os
from pathlib import Path

import pytest

from sand_dagster.environments.alfworld.domain import AlfworldDomain
from sand_dagster.environments.scienceworld import DOMAIN
from sand_dagster.exports.records import write_records
from sand_dagster.recordings.eto import (
    Malformed,
    Record,
    RecordError,
    read_records,
    recording,
)
from sand_dagster.types import Step, Task, Trajectory

SHARED = Path(os.environ.get("SAND_SHARED", Path(__file__).parents[3] / "shared"))
SAMPLE = SHARED / "data" / "alfworld" / "eto_sft_sample.json"
TURNS = [
    ("user", "Interact with a household to solve a task. …"),
    ("assistant", "OK"),
    ("user", "You are in the middle of a room.\n\nYour task is to: put a cup in desk."),
    ("assistant", "Thought: A cup first.\nAction: go to desk 1"),
    ("user", "Observation: On the desk 1, you see a cup 1."),
    ("assistant", "Action: take cup 1 from desk 1"),
]
OTHERS = {"user": "human", "assistant": "gpt"}


def write(path: Path, conversation: list[dict[str, str]]) -> Path:
    path.write_text(json.dumps([{"id": "alfworld_7", "game_file": "a/b", "conversations": conversation}]))
    return path


def test_both_spellings_are_the_same_record(tmp_path: Path) -> None:
    one = write(tmp_path / "one.json", [{"role": r, "content": c} for r, c in TURNS])
    other = write(tmp_path / "other.json", [{"from": OTHERS[r], "value": c} for r, c in TURNS])
    (record,) = read_records(one)
    assert [record] == read_records(other)
    assert isinstance(record, Record)
    assert (record.id, record.game) == ("alfworld_7", "a/b")
    assert record.instruction == TURNS[2][1]
    assert record.steps == (
        Step("A cup first.", "go to desk 1", "On the desk 1, you see a cup 1."),
        Step("", "take cup 1 from desk 1", ""),
    )


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    task = Task("scienceworld/boil/0", "scienceworld", "train", "boil", 9, {"task": "boil", "variation": 0})
    steps = (Step("Look: first.", "look around", "A kitchen."), Step("", "wait", "You wait.\nLong."))
    recorded = Trajectory("t", task, "Task Description:\nYour task is to boil {water}.", steps, 0.5)
    path = tmp_path / "ours.json"
    write_records(path, DOMAIN, [recorded])
    (record,) = read_records(path, DOMAIN.opening)
    assert isinstance(record, Record)
    again = recording(record, task)
    assert again.trajectory is not None
    assert (again.trajectory.instruction, tuple(again.trajectory.steps)) == (recorded.instruction, steps)
    assert again.reward == again.trajectory.reward == 0.5


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([], "no turn of the agent holds an `Action:` line"),
        ([{"role": "user", "content": "hello"}], "no turn of the agent"),
        ([{"content": "hello"}], "turn 0: it has neither `role` nor `from`"),
        ([{"role": "user"}], "turn 0: it has neither `content` nor `value`"),
        ([{"role": "assistant", "content": "Action: go"}], "turn 0: the agent acts before"),
        (
            [*({"role": r, "content": c} for r, c in TURNS[2:4]), {"from": "gpt", "value": "so"}],
            "turn 2: expected an obs",
        ),
        (
            [*({"role": r, "content": c} for r, c in [*TURNS[2:5], TURNS[4]])],
            "turn 3: expected the agent's turn",
        ),
        ([{"role": "narrator", "content": "hello"}], "narrator"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, turns: list[dict[str, str]], said: str) -> None:
    path = tmp_path / "file.json"
    good = [{"role": r, "content": c} for r, c in TURNS]
    path.write_text(json.dumps([{"id": 1, "conversations": good}, {"id": 2, "conversations": turns}]))
    first, second = read_records(path)
    assert isinstance(first, Record) and isinstance(second, Malformed)
    assert second.row == 1 and said in second.problem
    path.write_text(json.dumps([{"id": 2, "conversations": turns}] * 3))
    with pytest.raises(RecordError, match=r"file\.json: none of its 3 rows is a trajectory") as caught:
        read_records(path)
    assert said in str(caught.value) and "expected ETO's format" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "expected a JSON list, found dict"),
        ("[{", "row 0: not whole JSON"),
        ("[]", "has no trajectories: give another file"),
        ("", "is not a JSON file"),
        ("id,text\n1,hello", "is not a JSON file"),
        ("[" * 100_000, "has no trajectories"),
        (None, "there is no"),
    ],
)
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "file.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecordError, match=said):
        read_records(path)


def _text(number: int) -> str:
    return json.dumps({"id": number, "conversations": [{"role": r, "content": c} for r, c in TURNS]})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"[{_text(0)}, {_text(1)}, {_text(2)[:-40]}", ["0", "1", None]),
        (f"[{_text(0)}, {_text(1)[:90]}\n, {_text(2)}]", ["0", None, "2"]),
        (f"[{_text(0)} {_text(1)}]", ["0", "1"]),
        (f"{_text(0)}\n{_text(1)}\n", ["0", "1"]),
        (_text(0), ["0"]),
    ],
)
def test_a_torn_file_is_read_as_far_as_it_goes(tmp_path: Path, text: str, found: list[str | None]) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    rows = read_records(path)
    assert [row.id if isinstance(row, Record) else None for row in rows] == found
    assert [row.row for row in rows] == list(range(len(found)))
    assert all("not whole JSON" in row.problem for row in rows if isinstance(row, Malformed))


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("Thought: Now. Action: take cup 1 from desk 1", ("Now.", "take cup 1 from desk 1")),
        ("I go. Action: look\nObservation: no", ("I go.", "look")),
        ("Thought: An Action: line comes.\nAction: look", ("An Action: line comes.", "look")),
        ("Thought: Now. Action:", ("Now.", "")),
    ],
)
def test_thought_and_action_on_one_line_are_read_as_eto_reads_them(
    tmp_path: Path, text: str, step: tuple[str, str]
) -> None:
    turns = [*TURNS[:-1], ("assistant", text)]
    (record,) = read_records(write(tmp_path / "file.json", [{"role": r, "content": c} for r, c in turns]))
    assert isinstance(record, Record)
    assert (record.steps[-1].thought, record.steps[-1].action) == step


@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"no {SAMPLE}: set SAND_SHARED")
def test_the_published_sample() -> None:
    records = [
        record for record in read_records(SAMPLE, AlfworldDomain.opening) if isinstance(record, Record)
    ]
    assert [record.id for record in records] == ["alfworld_0", "alfworld_1", "alfworld_2"]
    for record in records:
        assert record.instruction.startswith("You are in the middle of a room.")
        assert "json_2.1.1/train/" in record.game
        assert all(step.thought and step.action for step in record.steps)
        assert all(step.observation for step in record.steps[:-1])
