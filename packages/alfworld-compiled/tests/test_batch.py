"""ALFWorld's own interface over compiled games: the same lists as from the stock environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alfworld_compiled import GameError
from alfworld_compiled.alfred_tw_env import AlfredTWEnv
from alfworld_compiled.batch import AlfworldBatchEnv
from alfworld_compiled.testing import WALKTHROUGH

WriteGame = Callable[..., Path]


@pytest.fixture
def kitchens(write_game: WriteGame, shipped: dict[str, str]) -> list[Path]:
    """Three games that differ in how they name their task, each in ALFWorld's folders."""
    games = []
    for number in range(3):
        grammar = shipped["grammar"].replace("put a hot apple in fridge", f"do task {number}")
        game = write_game(f"train/pick_heat_then_place-{number}/trial/game.tw-pddl", grammar=grammar)
        (game.parent / "traj_data.json").write_text('{"task_type": "pick_heat_then_place_in_recep"}')
        games.append(game)
    return games


def _config(games: Path, **changes: Any) -> dict[str, Any]:
    return {
        "env": {
            "goal_desc_human_anns_prob": 0,
            "task_types": [1, 2, 3, 4, 5, 6],
            "domain_randomization": changes.get("domain_randomization", False),
            "expert_type": "handcoded",
        },
        "dataset": {
            "data_path": str(games),
            "eval_id_data_path": str(games),
            "num_train_games": 0,
            "num_eval_games": 0,
        },
        "general": {"training_method": changes.get("training_method", "dqn")},
        "rl": {"training": {"max_nb_steps_per_episode": 10}},
        "dagger": {"training": {"max_nb_steps_per_episode": 4}},
    }


def test_in_the_place_of_alfworlds_class(
    kitchens: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alfworld.agents.environment.alfred_tw_env import AlfredTWEnv as Stock

    monkeypatch.setenv("ALFWORLD_COMPILED_CACHE", str(tmp_path / "cache"))
    config = _config(tmp_path / "games")
    stock = Stock(config, train_eval="train").init_env(batch_size=2)
    compiled = AlfredTWEnv(config, train_eval="train").init_env(batch_size=2)

    for _ in range(2):
        expected, expected_infos = stock.reset()
        observations, infos = compiled.reset()
        assert (observations, infos) == (list(expected), expected_infos)
        for command in [*WALKTHROUGH, "open fridge 1", "close fridge 1"]:
            *found, infos = compiled.step([command, "look"])
            *expected, expected_infos = stock.step([command, "look"])
            assert found == [list(part) for part in expected], command
            # Stock forgets the file after `reset`.
            assert expected_infos.pop("extra.gamefile") == [None, None]
            assert set(infos.pop("extra.gamefile")) <= {str(game) for game in kitchens}
            assert infos == expected_infos, command
        assert found[1:] == [[1.0, 0.0], [True, True]]
    stock.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain_randomization": True}, "env.domain_randomization"),
        ({"training_method": "dagger"}, "expert_plan"),
        ({"training_method": "ppo"}, "expected dqn or dagger"),
    ],
)
def test_what_cannot_be_compiled_is_an_error(
    kitchens: list[Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        AlfredTWEnv(_config(tmp_path / "games", **changes), train_eval="train").init_env(batch_size=1)


def test_evaluation_takes_the_limit_of_dagger(kitchens: list[Path], tmp_path: Path) -> None:
    config = _config(tmp_path / "games", training_method="dagger")
    env = AlfredTWEnv(config, train_eval="eval_in_distribution").init_env(batch_size=1)
    env.reset()

    dones = [env.step(["look"])[2][0] for _ in range(4)]

    assert dones == [False, False, False, True]


def test_no_game_waits_for_another(kitchens: list[Path], tmp_path: Path) -> None:
    env = AlfworldBatchEnv(kitchens, 2, cache=tmp_path / "cache")
    (before, other), _ = env.reset()
    for command in WALKTHROUGH:
        _, score, done, info = env.step_one(0, command)
    assert (score, done, info["won"]) == (1.0, True, True)

    observation, info = env.reset_one(0)

    assert "do task" in observation and observation not in (before, other), "the third game"
    observations, _, dones, infos = env.step(["go to fridge 1", "inventory"])
    assert observations == [
        "You arrive at fridge 1. The fridge 1 is closed.",
        "You are not carrying anything.",
    ]
    assert dones == [False, False]
    assert infos["extra.gamefile"][0] == info["extra.gamefile"]
    assert env.reset_one(1, kitchens[0])[1]["extra.gamefile"] == str(kitchens[0])


def test_a_game_that_is_done_starts_again(kitchens: list[Path], tmp_path: Path) -> None:
    env = AlfworldBatchEnv(kitchens, 2, step_limit=1, auto_reset=True, cache=tmp_path / "cache")
    first, _ = env.reset()
    assert env.step(["look", "inventory"])[2] == [True, True]

    observations, scores, dones, _ = env.step(["look", "look"])

    assert (observations, scores, dones) == (first, [0.0, 0.0], [False, False])


def test_a_fork_goes_its_own_way(kitchens: list[Path], tmp_path: Path) -> None:
    env = AlfworldBatchEnv(kitchens, 2, cache=tmp_path / "cache")
    env.reset()
    for command in WALKTHROUGH[:-1]:
        env.step([command, "look"])
    fork = env.fork()

    assert fork.step([WALKTHROUGH[-1], "look"])[1] == [1.0, 0.0]
    assert env.step(["look", "look"])[1] == [0.0, 0.0]
    assert fork.reset() == env.reset(), "the same games come next"


def test_mistakes_are_explained(kitchens: list[Path], tmp_path: Path) -> None:
    env = AlfworldBatchEnv(kitchens, 2, cache=tmp_path / "cache")
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(["look", "look"])
    env.reset()
    with pytest.raises(ValueError, match="expected a list of 2 commands"):
        env.step("look")
    with pytest.raises(GameError, match=r"there is no game .*nothing"):
        AlfworldBatchEnv(tmp_path / "nothing", 2)
    missing = tmp_path / "missing" / "game.tw-pddl"
    with pytest.raises(GameError, match="there is no game"):
        env.reset_one(0, missing)


def test_a_game_that_changes_is_read_again(kitchens: list[Path], tmp_path: Path) -> None:
    env = AlfworldBatchEnv(kitchens[:1], 1, cache=tmp_path / "cache")
    env.reset()
    game = json.loads(kitchens[0].read_text())
    game["grammar"] = game["grammar"].replace("do task 0", "do it differently")
    kitchens[0].write_text(json.dumps(game))

    assert "do it differently" in env.reset()[0][0]
