"""Expert trajectories in ETO's format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.environments.alfworld import Options, experts, make, tasks
from sand_dagster.environments.records import RecordError
from sand_dagster.sand.types import Trajectory

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
def load(kitchen: Path, tmp_path: Path) -> Callable[..., list[Trajectory]]:
    def load(rows: object, **options: object) -> list[Trajectory]:
        file = tmp_path / "experts.json"
        file.write_text(json.dumps(rows))
        chosen = Options.model_validate(
            {"games": tmp_path / "games", "experts": file, "engine": "stock", **options}
        )
        found = tasks(chosen, tmp_path, lambda done, total: None)
        return list(experts(chosen, tmp_path, found, lambda done, total: None))

    return load


@pytest.mark.parametrize("names", [("role", "content"), ("from", "value")])
def test_both_spellings_of_a_record(load: Callable[..., list[Trajectory]], names: tuple[str, str]) -> None:
    (trajectory,) = load(
        [_record(_TURNS, names), _record(_TURNS, names, game_file="data/json_2.1.1/train/other/trial")]
    )

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
    assert trajectory.task.split == "train" and trajectory.reward == 1.0


def test_observations_are_in_the_words_of_the_environment(load: Callable[..., list[Trajectory]]) -> None:
    (trajectory,) = load([_record(_TURNS)], grammar="put_toggle")

    assert trajectory.steps[1].observation == "You put the apple 2 in/on the countertop 1."


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([_record(_TURNS), {"id": 1}], "row 1: .*conversations"),
        ([_record(_TURNS), _record(_TURNS, game_file="")], "row 1: it has no `game_file`"),
    ],
)
def test_a_malformed_row_is_named(load: Callable[..., list[Trajectory]], rows: object, message: str) -> None:
    with pytest.raises(RecordError, match=f"(?s)experts.json.*{message}"):
        load(rows)


def test_a_missing_file_is_named(kitchen: Path, tmp_path: Path) -> None:
    options = Options(games=tmp_path / "games", experts=tmp_path / "none.json", engine="stock")

    with pytest.raises(RecordError, match=r"no trajectory file .*none\.json"):
        list(experts(options, tmp_path, [], lambda done, total: None))


def test_the_published_sample_replays_to_the_letter(shared: Path, published: Path, tmp_path: Path) -> None:
    options = Options(
        games=published, experts=shared / "data/alfworld/eto_sft_sample.json", unsupported="stock"
    )
    found = tasks(options, tmp_path, lambda done, total: None)
    environment = make(options, tmp_path)

    played = 0
    for trajectory in experts(options, tmp_path, found, lambda done, total: None):
        assert environment.reset(trajectory.task) == trajectory.instruction
        for step in trajectory.steps:
            result = environment.step(step.action)
            assert step.observation in ("", result.observation)
        assert (result.reward, result.done) == (1.0, True)
        played += 1
    assert played == 3
