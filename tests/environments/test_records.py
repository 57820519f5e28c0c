import json
import os
from pathlib import Path

import pytest

from sand_dagster.environments.records import RecordError, read_records, trajectory, write_records
from sand_dagster.environments.scienceworld import DOMAIN
from sand_dagster.sand.types import Step, Task, Trajectory

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
    assert [record] == list(read_records(other))
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
    assert write_records(path, DOMAIN, [recorded]) == 1
    (record,) = read_records(path)
    again = trajectory(record, task, reward=0.5)
    assert (again.instruction, tuple(again.steps)) == (recorded.instruction, steps)
    assert json.loads(path.read_text())[0]["reward"] == 0.5


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
    with pytest.raises(RecordError, match=r"file\.json, row 1: ") as caught:
        list(read_records(path))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"), [("{}", "found dict"), ("[{", "not a whole JSON file"), (None, "there is no")]
)
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "file.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecordError, match=said):
        list(read_records(path))


@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"no {SAMPLE}: set SAND_SHARED")
def test_the_published_sample() -> None:
    records = list(read_records(SAMPLE))
    assert [record.id for record in records] == ["alfworld_0", "alfworld_1", "alfworld_2"]
    for record in records:
        assert record.instruction.startswith("You are in the middle of a room.")
        assert "json_2.1.1/train/" in record.game
        assert all(step.thought and step.action for step in record.steps)
        assert all(step.observation for step in record.steps[:-1])
