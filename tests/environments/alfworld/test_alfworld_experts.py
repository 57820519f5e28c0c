"""Expert trajectories in ETO's format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.environments.alfworld import Options, experts, recordings, tasks
from sand_dagster.recordings.eto import RecordError
from sand_dagster.recordings.recording import Recording, Recordings
from sand_dagster.verdicts import Verdict

_FOLDER = "data/json_2.1.1/train/pick_heat_then_place_in_recep-Apple-None-Fridge-1/trial_1"
_TURNS = [
    ("user", "Interact with a household to solve a task."),
    ("assistant", "OK"),
    ("user", "You are in the middle of a room.\n\nYour task is to: put a hot apple in fridge."),
    ("assistant", "Thought: Apples lie about.\nAction: go to countertop 1"),
    ("user", "Observation: On the countertop 1, you see a apple 2."),
    ("assistant", "Thought: Put it back.\nAction: put apple 2 in/on countertop 1"),
    ("user", "Observation: You put the apple 2 in/on the countertop 1."),
    ("assistant", "Action: go to fridge 1"),
]


def _record(
    turns: list[tuple[str, str]], names: tuple[str, str] = ("role", "content"), **parts: Any
) -> dict[str, Any]:
    spelled = {"user": "human", "assistant": "gpt"} if names[0] == "from" else {}
    conversations = [{names[0]: spelled.get(who, who), names[1]: text} for who, text in turns]
    return {"id": "alfworld_0", "game_file": _FOLDER, "conversations": conversations, **parts}


@pytest.fixture
def load(kitchen: Path, tmp_path: Path) -> Callable[..., list[Recording]]:
    def load(rows: object, **options: object) -> list[Recording]:
        file = tmp_path / "experts.json"
        file.write_text(json.dumps(rows))
        chosen = Options.model_validate(
            {"games": tmp_path / "games", "experts": file, "engine": "stock", **options}
        )
        found = tasks(chosen, tmp_path, lambda done, total: None)
        read = recordings(chosen, tmp_path, found)
        assert isinstance(read, Recordings) and read.source == str(file)
        return list(read.rows)

    return load


@pytest.mark.parametrize("names", [("role", "content"), ("from", "value")])
def test_both_spellings_of_a_record(load: Callable[..., list[Recording]], names: tuple[str, str]) -> None:
    ours, other = load(
        [_record(_TURNS, names), _record(_TURNS, names, game_file="data/json_2.1.1/train/other/trial")]
    )

    assert (other.trajectory, other.verdict) == (None, Verdict.UNKNOWN_TASK)
    assert "train/other/trial is none of the 1 games asked for" in other.problem
    trajectory = ours.trajectory
    assert trajectory is not None
    assert trajectory.instruction == _TURNS[2][1]
    assert [(s.thought, s.action) for s in trajectory.steps] == [
        ("Apples lie about.", "go to countertop 1"),
        ("Put it back.", "put apple 2 in/on countertop 1"),
        ("", "go to fridge 1"),
    ]
    assert [s.observation for s in trajectory.steps] == [
        "On the countertop 1, you see a apple 2.",
        "You move the apple 2 to the countertop 1.",
        "",
    ]
    assert trajectory.task.split == "train" and ours.reward is None


def test_observations_are_in_the_words_of_the_environment(load: Callable[..., list[Recording]]) -> None:
    (found,) = load([_record(_TURNS)], grammar="put_toggle")

    assert found.trajectory is not None
    assert found.trajectory.steps[1].observation == "You put the apple 2 in/on the countertop 1."


@pytest.mark.parametrize(
    ("row", "message"),
    [({"id": 1}, "conversations: Field required"), (_record(_TURNS, game_file=""), "it has no `game_file`")],
)
def test_a_malformed_row_is_named_and_the_others_are_read(
    load: Callable[..., list[Recording]], row: object, message: str
) -> None:
    first, second, third = load([_record(_TURNS), row, _record(_TURNS)])
    assert first.trajectory is not None and third.trajectory is not None
    assert (second.row, second.trajectory, second.verdict) == (1, None, Verdict.MALFORMED)
    assert message in second.problem


def test_a_file_of_another_environment_is_refused_with_advice(load: Callable[..., list[Recording]]) -> None:
    with pytest.raises(RecordError, match=r"(?s)experts\.json: its rows have no `game_file`.*ScienceWorld's"):
        load([_record(_TURNS, game_file="")])


def test_without_a_file_there_are_no_experts(kitchen: Path, tmp_path: Path) -> None:
    options = Options(games=tmp_path / "games", engine="stock")
    assert list(experts(options, tmp_path, [], lambda done, total: None)) == []
    assert recordings(options, tmp_path, []) is None


def test_a_missing_file_is_named(kitchen: Path, tmp_path: Path) -> None:
    options = Options(games=tmp_path / "games", experts=tmp_path / "none.json", engine="stock")

    with pytest.raises(RecordError, match=r"no trajectory file .*none\.json"):
        recordings(options, tmp_path, [])
