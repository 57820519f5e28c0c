"""What is written reads back exactly, whatever the texts are; and a full disk leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sand_dagster.environments.alfworld.domain import AlfworldDomain
from sand_dagster.environments.scienceworld import DOMAIN as SCIENCEWORLD
from sand_dagster.errors import DiskFull
from sand_dagster.exports.records import record_row, write_json, write_json_lines
from sand_dagster.interfaces import Domain
from sand_dagster.recordings.contents import content_of
from sand_dagster.recordings.eto import Malformed, Record, RecordError, read_records, recording
from sand_dagster.types import Step, Task, Trajectory

TASK = Task("alfworld/train/a/b", "alfworld", "train", "heat", 9, {"game": "train/a/b/game.tw-pddl"})
ODD = (
    Step("I could:\n- Action: look: no.\n\nAction: look\nso be it.", "go to desk 1", "Observation: a desk."),
    Step("```json\n{}\n```", 'say "ü 漢字 🙂"', "line\n\nline\u2028 end "),
    Step("  spaces  ", "look", ""),
    Step("", "look", " Your task is to: x. "),
    Step("<think>no</think> Thought: twice", "look", "Thought: I am a page.\nAction: click[me]"),
    Step("no action at all", "", "Nothing happens."),
    Step("", "look", "The end."),
)


def _trajectory(*steps: Step) -> Trajectory:
    instruction = "You are in the middle of a room. You are in the middle.\n\nYour task is to: {task} 100 %."
    return Trajectory("0123456789abcdef", TASK, instruction, steps, 0.25)


@pytest.mark.parametrize("domain", [AlfworldDomain(), SCIENCEWORLD], ids=lambda domain: domain.name)
@pytest.mark.parametrize("form", ["conversations", "messages"])
def test_any_text_reads_back_as_it_was(tmp_path: Path, domain: Domain, form: str) -> None:
    path = tmp_path / "größe 1.jsonl"
    write = write_json if form == "conversations" else write_json_lines
    wanted = [_trajectory(*ODD), *(_trajectory(step) for step in ODD)]
    write(path, (record_row(domain, each, form) for each in wanted))  # type: ignore[arg-type]
    records = read_records(path, domain.opening)
    for record, trajectory in zip(records, wanted, strict=True):
        assert isinstance(record, Record), record
        assert (record.instruction, record.steps) == (trajectory.instruction, tuple(trajectory.steps))
        again = recording(record, TASK)
        assert again.trajectory is not None and again.trajectory.id == trajectory.id
        assert again.reward == 0.25 and record.game == "train/a/b/game.tw-pddl"


def test_a_conversation_that_someone_changed_counts_and_not_the_steps_beside_it(tmp_path: Path) -> None:
    row = record_row(AlfworldDomain(), _trajectory(Step("I look.", "look", "A desk."), ODD[-1]), "messages")
    row["messages"][1]["content"] = "Thought: I wait.\nAction: wait"
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(row))
    (record,) = read_records(path, AlfworldDomain().opening)
    assert isinstance(record, Record)
    assert record.steps == (Step("I wait.", "wait", "A desk."), Step("", "look", ""))


def test_messages_of_others_may_begin_with_a_system_turn_and_have_no_more_than_that(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "You are helpful."},
        {"role": "user", "content": "Your task is to: look."},
        {"role": "assistant", "content": "Action: look"},
    ]
    path = tmp_path / "file.jsonl"
    rows = [turns, [turns[0], turns[2]], [*turns, turns[0]]]
    path.write_text("\n".join(json.dumps({"id": 1, "messages": each, "reward": 1}) for each in rows))
    found = read_records(path)
    assert isinstance(found[0], Record) and found[0].steps == (Step("", "look", ""),)
    assert found[0].reward == 1.0 and found[0].trajectory_id == ""
    assert isinstance(found[1], Malformed) and "before it was given a task" in found[1].problem
    assert isinstance(found[2], Malformed) and "system turn may only be the first" in found[2].problem


def test_an_id_of_another_kind_is_not_taken_for_ours(tmp_path: Path) -> None:
    row = {**record_row(AlfworldDomain(), _trajectory(ODD[-1]), "messages"), "trajectory_id": "../../x"}
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(row))
    (record,) = read_records(path)
    assert isinstance(record, Record)
    again = recording(record, TASK).trajectory
    assert again is not None and len(again.id) == 16 and again.id != "0123456789abcdef"


@pytest.mark.parametrize("write", [write_json, write_json_lines])
def test_no_rows_are_an_empty_file_which_is_no_expert_data(tmp_path: Path, write: object) -> None:
    path = tmp_path / "none.json"
    write(path, [])  # type: ignore[operator]
    with pytest.raises(RecordError, match=r"none\.json (has no trajectories|is not a JSON file)"):
        read_records(path)


@pytest.mark.parametrize("write", [write_json, write_json_lines])
def test_a_full_disk_leaves_nothing_behind(small_disk: Path, write: object) -> None:
    (small_disk / "kept.json").write_text("[]")
    rows = [{"id": n, "text": "x" * 1000} for n in range(200)]
    for name in ("new.json", "kept.json"):
        with pytest.raises(DiskFull, match="no space left on the disk"):
            write(small_disk / name, rows)  # type: ignore[operator]
    assert [path.name for path in small_disk.iterdir()] == ["kept.json"]
    assert (small_disk / "kept.json").read_text() == "[]"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty", None, "holds no Parquet file"),
        ("torn.parquet", b"PAR1 and no more", "is not a whole Parquet file"),
        ("absent.parquet", None, "there is no trajectory file"),
        ("file.json/below", None, "there is no trajectory file"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.json").write_text("[]")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordError, match=said) as caught:
        read_records(tmp_path / name)
    assert name in str(caught.value)


def test_the_content_of_a_folder_counts_and_not_its_name(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.parquet").write_bytes(b"rows")
    assert content_of(tmp_path / "one") == content_of(tmp_path / "other") != ""
    (tmp_path / "other" / "b.parquet").write_bytes(b"more")
    assert content_of(tmp_path / "one") != content_of(tmp_path / "other")
    assert content_of(tmp_path / "absent") == ""
