"""ALFWorld for SAND's agent."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from alfworld_compiled.games import GameError
from sand_dagster.environments import environment_kind
from sand_dagster.environments.alfworld import DOMAIN, Options, make, selection, tasks
from sand_dagster.environments.alfworld.environment import AlfworldEnvironment
from sand_dagster.types import Task

WriteGame = Callable[..., Path]


def _tasks(tmp_path: Path, **options: object) -> list[Task]:
    return tasks(
        Options.model_validate({"games": tmp_path / "games", **options}), tmp_path, lambda done, total: None
    )


def _environment(tmp_path: Path, **options: object) -> AlfworldEnvironment:
    return make(Options.model_validate({"games": tmp_path / "games", **options}), tmp_path)


@pytest.fixture(params=["compiled", "stock"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_an_episode_reads_as_the_published_data(kitchen: Path, tmp_path: Path, engine: str) -> None:
    environment = _environment(tmp_path, engine=engine)
    (task,) = _tasks(tmp_path, engine=engine)

    assert environment.reset(task) == (
        "You are in the middle of a room. Looking quickly around you, you see a countertop 1, a desk 2, "
        "a desk 1, a fridge 1, a microwave 1, and a sinkbasin 1.\n\n"
        "Your task is to: put a hot apple in fridge."
    )
    arrived = environment.step("go to fridge 1")
    assert (arrived.observation, arrived.reward, arrived.done, arrived.valid) == (
        "The fridge 1 is closed.",
        0.0,
        False,
        True,
    )
    refused = environment.step("fly to the moon")
    assert (refused.observation, refused.valid) == (DOMAIN.refusal, False)
    assert environment.step(" open  fridge 1. ").valid
    assert not environment.step("Close fridge 1").valid
    environment.close()
    environment.close()


def test_the_reward_stays_once_won(kitchen: Path, tmp_path: Path) -> None:
    environment = _environment(tmp_path)
    (task,) = _tasks(tmp_path)
    environment.reset(task)
    actions = """go to countertop 1|take apple 2 from countertop 1|go to microwave 1
        heat apple 2 with microwave 1|go to fridge 1|open fridge 1|put apple 2 in/on fridge 1
        close fridge 1|open fridge 1"""
    results = [environment.step(action) for action in actions.replace("\n", "|").split("|")]

    assert all(result.valid for result in results)
    assert [result.reward for result in results[-3:]] == [0.0, 1.0, 1.0]
    assert [result.done for result in results[-3:]] == [False, True, True]


def test_a_fork_leaves_the_original_alone(kitchen: Path, tmp_path: Path, engine: str) -> None:
    environment = _environment(tmp_path, engine=engine)
    (task,) = _tasks(tmp_path, engine=engine)
    environment.reset(task)
    environment.step("go to fridge 1")
    fork = environment.fork()

    assert fork.step("open fridge 1").valid
    assert environment.step("close fridge 1").valid is False
    assert fork.step("close fridge 1").valid


def test_either_grammar_is_understood_and_spoken(kitchen: Path, tmp_path: Path) -> None:
    (task,) = _tasks(tmp_path)
    said = {}
    for grammar in ("as_published", "put_toggle"):
        environment = _environment(tmp_path, grammar=grammar)
        environment.reset(task)
        environment.step("go to countertop 1")
        environment.step("take apple 2 from countertop 1")
        said[grammar] = environment.step("put apple 2 in/on countertop 1").observation
        environment.step("go to desk 1")
        assert environment.step("toggle desklamp 1 desk 1").valid

    assert said == {
        "as_published": "You move the apple 2 to the countertop 1.",
        "put_toggle": "You put the apple 2 in/on the countertop 1.",
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("put apple 1 in/on desk 2", "Move  apple 1 to desk 2."),
        ("toggle desklamp 1 desk 2", "use desklamp 1"),
        ("toggle desklamp 1", "USE desklamp 1"),
        ("go to desk 1", " go to  DESK 1 . "),
    ],
)
def test_actions_that_do_the_same_are_equal(one: str, other: str) -> None:
    assert DOMAIN.normalise(one) == DOMAIN.normalise(other)
    assert DOMAIN.normalise(DOMAIN.normalise(one)) == DOMAIN.normalise(one)
    assert DOMAIN.normalise(one) != DOMAIN.normalise("put apple 1 in/on desk 3")


def test_the_prompt_is_figure_7() -> None:
    prompt = DOMAIN.prompt("You see {obj}.\n\nYour task is to: {task}")

    assert prompt.startswith("Interact with a household to solve a task.")
    assert "6. toggle {obj} {recep}" in prompt
    assert prompt.endswith("here is the task.\nYou see {obj}.\n\nYour task is to: {task}")


def test_tasks_are_of_three_splits_and_a_limit_spreads(write_game: WriteGame, tmp_path: Path) -> None:
    for index in range(6):
        write_game(f"train/pick_two_obj_and_place-A-None-B-{index}/trial/game.tw-pddl")
    write_game("valid_seen/look_at_obj_in_light-A-None-B-1/trial/game.tw-pddl")
    write_game("valid_unseen/pick_and_place_simple-A-None-B-1/trial/game.tw-pddl", solvable=False)
    write_game("valid_unseen/pick_and_place_with_movable_recep-A-Cup-B-1/trial/game.tw-pddl")

    found = _tasks(tmp_path, engine="stock")
    some = _tasks(tmp_path, engine="stock", limits={"train": 2}, step_limit=40)

    assert [t.split for t in found] == ["train"] * 6 + ["seen"]
    assert {t.kind for t in found} == {"pick_two_obj_and_place", "look_at_obj_in_light"}
    assert [t.id for t in found] == sorted(t.id for t in found) and found == _tasks(tmp_path, engine="stock")
    assert [t.split for t in some] == ["train", "train", "seen"] and {t.step_limit for t in some} == {40}
    assert {t.id for t in some} < {t.id for t in found}


def test_a_split_without_games_is_named(
    write_game: WriteGame, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_game("train/pick_two_obj_and_place-A-None-B-1/trial/game.tw-pddl")
    _tasks(tmp_path, engine="stock", limits={"seen": 0})
    assert caplog.messages == [f"no game in {tmp_path}/games/valid_unseen: there are no tasks of this split"]


def test_training_games_are_those_that_the_experts_file_names(write_game: WriteGame, tmp_path: Path) -> None:
    for index in range(6):
        write_game(f"train/pick_two_obj_and_place-A-None-B-{index}/trial/game.tw-pddl")
    write_game("valid_seen/look_at_obj_in_light-A-None-B-1/trial/game.tw-pddl")
    file = tmp_path / "experts.json"
    turns = [
        {"role": "user", "content": "Your task is to: wait."},
        {"role": "assistant", "content": "Action: look"},
    ]
    named = [f"data/json_2.1.1/train/pick_two_obj_and_place-A-None-B-{index}/trial" for index in (2, 4, 9)]
    file.write_text(json.dumps([{"id": 0, "game_file": game, "conversations": turns} for game in named]))

    found = _tasks(tmp_path, engine="stock", experts=file)
    one = _tasks(tmp_path, engine="stock", experts=file, limits={"train": 1})

    folders = [
        "train/pick_two_obj_and_place-A-None-B-2/trial",
        "train/pick_two_obj_and_place-A-None-B-4/trial",
    ]
    assert [t.id for t in found if t.split == "train"] == [f"alfworld/{folder}" for folder in folders]
    assert [t.split for t in one] == ["train", "seen"] and {t.id for t in one} < {t.id for t in found}


def test_progress_is_shown_while_games_are_read(
    write_game: WriteGame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(5):
        write_game(f"train/pick_two_obj_and_place-A-None-B-{index}/trial/game.tw-pddl")
    options = Options.model_validate({"games": tmp_path / "games", "engine": "stock"})
    monkeypatch.setattr(selection, "_AT_ONCE", 2)
    shown: list[tuple[int, int]] = []
    found = tasks(options, tmp_path, lambda done, total: shown.append((done, total)))
    assert shown == [(2, 5), (4, 5), (5, 5)]
    assert len(found) == 5


def test_an_unsupported_game_is_left_out_or_played_by_stock(
    write_game: WriteGame, shipped: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_game()
    grammar = shipped["grammar"].replace("You close the {r.name}.", "You close the {r.name.upper()}.")
    write_game("train/pick_and_place_simple-A-None-B-1/trial/game.tw-pddl", grammar=grammar)

    left = _tasks(tmp_path)
    assert [t.kind for t in left] == ["pick_heat_then_place_in_recep"]
    assert "left out 1 games" in caplog.text and "upper" in caplog.text

    both = _tasks(tmp_path, unsupported="stock")
    assert len(both) == 2
    environment = _environment(tmp_path, unsupported="stock")
    environment.reset(both[0])
    for action in ("go to fridge 1", "open fridge 1"):
        environment.step(action)
    assert environment.step("close fridge 1").observation == "You close the FRIDGE 1."


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(GameError, match="no games folder"):
        _tasks(tmp_path)
    (tmp_path / "games/train").mkdir(parents=True)
    with pytest.raises(GameError, match=r"holds no game\.tw-pddl"):
        _tasks(tmp_path)
    with pytest.raises(RuntimeError, match="reset"):
        _environment(tmp_path).step("look")


def test_it_is_an_environment_of_the_project() -> None:
    kind = environment_kind("alfworld")

    assert kind.DOMAIN.name == "alfworld"
    assert all(field.description for field in kind.Options.model_fields.values())
