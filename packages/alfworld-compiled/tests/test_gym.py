"""The Gymnasium environment, checked by Gymnasium."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from alfworld_compiled.testing import WALKTHROUGH

gymnasium = pytest.importorskip("gymnasium", reason="the extra `gym` is not installed")

from alfworld_compiled.gym import AlfworldEnv  # noqa: E402

WriteGame = Callable[..., Path]


@pytest.fixture
def games(write_game: WriteGame, shipped: dict[str, str]) -> list[Path]:
    found = []
    for number in range(4):
        grammar = shipped["grammar"].replace("put a hot apple in fridge", f"do task {number}")
        found.append(write_game(f"train/{number}/trial/game.tw-pddl", grammar=grammar))
    return found


def test_gymnasium_accepts_it(games: list[Path], tmp_path: Path) -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(AlfworldEnv(games, cache=tmp_path / "cache"), skip_render_check=True)


def test_an_episode_is_won(games: list[Path], tmp_path: Path) -> None:
    env = AlfworldEnv(games, step_limit=len(WALKTHROUGH), cache=tmp_path / "cache")
    observation, info = env.reset(options={"game": games[2]})
    assert observation.endswith("Your task is to: do task 2.")
    assert info["extra.gamefile"] == str(games[2]) and "go to fridge 1" in info["admissible_commands"]

    for command in WALKTHROUGH:
        observation, reward, terminated, truncated, info = env.step(command)

    assert (reward, terminated, truncated, info["won"]) == (1.0, True, True, True)
    assert observation == "You close the fridge 1."


def test_an_episode_is_cut_at_the_limit(games: list[Path], tmp_path: Path) -> None:
    env = AlfworldEnv(games, step_limit=2, cache=tmp_path / "cache")
    env.reset(seed=0)
    assert env.step("look")[1:4] == (0.0, False, False)
    assert env.step("dance") == ("Nothing happens.", 0.0, False, True, env.step("dance")[4])


def test_the_seed_decides_the_games(games: list[Path], tmp_path: Path) -> None:
    def drawn(seed: int) -> list[str]:
        env = AlfworldEnv(games, cache=tmp_path / "cache")
        return [env.reset(seed=seed)[0], *(env.reset()[0] for _ in range(3))]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 4


def test_a_fork_goes_its_own_way(games: list[Path], tmp_path: Path) -> None:
    env = AlfworldEnv(games, step_limit=3, cache=tmp_path / "cache")
    env.reset(seed=3)
    env.step("go to countertop 1")
    fork = env.fork()

    assert fork.step("take apple 2 from countertop 1")[0].startswith("You pick up")
    assert env.step("inventory")[0] == "You are not carrying anything."
    assert fork.step("inventory")[::3] == ("You are carrying: a apple 2.", True)
    assert fork.reset()[0] == env.reset()[0]


def test_gymnasiums_vectors_take_it(games: list[Path], tmp_path: Path) -> None:
    make = partial(AlfworldEnv, games, step_limit=2, cache=tmp_path / "cache")
    vector = gymnasium.vector.SyncVectorEnv([make, make])
    vector.reset(seed=5)
    observations, rewards, terminated, truncated, infos = vector.step(("look", "go to fridge 1"))

    assert observations[1] == "You arrive at fridge 1. The fridge 1 is closed."
    assert rewards.tolist() == [0.0, 0.0] and not terminated.any() and not truncated.any()
    assert "open fridge 1" in infos["admissible_commands"][1]
    assert vector.step(("look", "look"))[3].tolist() == [True, True]
