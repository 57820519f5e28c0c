"""The compiled engine by itself: states, forks, the cache."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from alfworld_compiled import (
    CompiledEpisode,
    CompiledGame,
    GameError,
    UnsupportedGame,
    compile_ahead,
    compile_process,
    find_games,
)
from alfworld_compiled.games import read_game

WriteGame = Callable[..., Path]


def test_a_state_is_a_value(kitchen: Path, tmp_path: Path) -> None:
    game = CompiledGame.load(kitchen, tmp_path / "cache")
    there, arrival = game.step(game.initial, "go to fridge 1")
    opened, _ = game.step(there, "open fridge 1")
    closed, _ = game.step(opened, "close fridge 1")

    assert arrival == "You arrive at fridge 1. The fridge 1 is closed."
    assert game.step(game.initial, "go to fridge 1") == (there, arrival)
    assert game.step(there, "open fridge 2") == (there, "Nothing happens.")
    assert "close fridge 1" in game.admissible(opened) and "close fridge 1" not in game.admissible(closed)
    assert hash(closed) != hash(opened)


def test_winning_is_of_the_state(kitchen: Path, tmp_path: Path) -> None:
    game = CompiledGame.load(kitchen, tmp_path / "cache")
    state, won = game.initial, []
    for command in [*read_game(kitchen).walkthrough, "open fridge 1", "close fridge 1"]:
        state, _ = game.step(state, command)
        won.append(game.won(state))

    assert won[-4:] == [False, True, False, True]


def test_forks_go_their_own_way(kitchen: Path, tmp_path: Path) -> None:
    play = CompiledEpisode(CompiledGame.load(kitchen, tmp_path / "cache"))
    play.step("go to countertop 1")
    fork = play.fork()

    assert fork.step("take apple 2 from countertop 1") == "You pick up the apple 2 from the countertop 1."
    assert "take apple 2 from countertop 1" in play.admissible()
    assert "a apple 2" in play.step("look") or "apple 2" in play.step("examine countertop 1")
    assert fork.step("inventory") == "You are carrying: a apple 2."
    assert play.step("inventory") == "You are not carrying anything."


def test_an_episode_begins_in_a_state_that_was_kept(kitchen: Path, tmp_path: Path) -> None:
    game = CompiledGame.load(kitchen, tmp_path / "cache")
    first = game.start()
    first.step("go to countertop 1")
    kept = first.state
    first.step("take apple 2 from countertop 1")

    second = CompiledEpisode(game, kept)

    assert second.state == kept != first.state
    assert "take apple 2 from countertop 1" in second.admissible()


def test_the_cache_is_used(kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = CompiledGame.load(kitchen, tmp_path / "cache")
    monkeypatch.setattr(
        "alfworld_compiled.compile_process.CompileProcess.compile",
        lambda *_: pytest.fail("compiled again"),
    )
    second = CompiledGame.load(kitchen, tmp_path / "cache")

    assert second.intro == first.intro
    assert second.step(second.initial, "go to desk 2") == first.step(first.initial, "go to desk 2")


def test_without_a_folder_the_cache_is_the_users(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALFWORLD_COMPILED_CACHE", str(tmp_path / "mine"))
    CompiledGame.load(str(kitchen))

    assert [file.suffix for file in (tmp_path / "mine").iterdir()] == [".game"]


def test_one_process_compiles_game_after_game(
    write_game: WriteGame, shipped: dict[str, str], tmp_path: Path
) -> None:
    pids = []
    for number in range(2):
        grammar = shipped["grammar"].replace("put a hot apple in fridge", f"task {number}")
        game = write_game(f"train/{number}/trial/game.tw-pddl", grammar=grammar)
        CompiledGame.load(game, tmp_path / "cache")
        with compile_process.warm_process() as process:
            pids.append(process.pid)

    assert pids[0] is not None and pids[0] == pids[1]


def test_a_relative_path_is_that_of_the_caller(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with compile_process.warm_process() as process:
        process.close()
    monkeypatch.chdir(kitchen.parent)

    assert "hot apple" in CompiledGame.load(kitchen.name, tmp_path / "cache").intro
    monkeypatch.chdir(tmp_path)
    relative = kitchen.relative_to(tmp_path)
    assert "hot apple" in CompiledGame.load(relative, Path("other")).intro
    assert (tmp_path / "other").is_dir()


def test_games_are_found_at_any_depth(write_game: WriteGame, tmp_path: Path) -> None:
    two = [write_game(f"train/type-{n}/trial/game.tw-pddl") for n in "ab"]
    write_game("train/pick-movable-x/trial/game.tw-pddl")

    assert find_games(tmp_path / "games") == two
    assert find_games([str(two[1]), tmp_path / "games" / "train" / "type-a"]) == [two[1], two[0]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(GameError, match=r"no game.tw-pddl in .*empty"):
        find_games(tmp_path / "empty")
    with pytest.raises(GameError, match=r"there is no game .*missing"):
        find_games([two[0], tmp_path / "missing"])


@pytest.mark.parametrize("harm", ["torn", "flipped", "emptied", "forged"])
def test_a_harmed_cache_file_is_made_again(kitchen: Path, tmp_path: Path, harm: str) -> None:
    cache = tmp_path / "cache"
    intro = CompiledGame.load(kitchen, cache).intro
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "torn": whole[:middle],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "emptied": b"",
            "forged": b"\x80\x04cos\nsystem\n",
        }[harm]
    )

    assert CompiledGame.load(kitchen, cache).intro == intro
    assert file.read_bytes() == whole


def test_another_content_is_another_game(
    write_game: WriteGame, shipped: dict[str, str], tmp_path: Path
) -> None:
    CompiledGame.load(write_game(), tmp_path / "cache")
    other = shipped["grammar"].replace("put a hot apple in fridge", "do something else")

    assert "do something else" in CompiledGame.load(write_game(grammar=other), tmp_path / "cache").intro


def test_several_processes_compile_the_same_game(kitchen: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        intros = list(pool.map(_intro, [kitchen] * 4, [cache] * 4))

    assert len(set(intros)) == 1
    assert [file.suffix for file in cache.iterdir()] == [".game"]


def _intro(game: Path, cache: Path) -> str:
    return CompiledGame.load(game, cache).intro


def test_compiling_ahead_names_what_is_refused(
    write_game: WriteGame, shipped: dict[str, str], tmp_path: Path
) -> None:
    good = write_game()
    grammar = shipped["grammar"].replace("{o.indefinite} {o.name}", "{o.name.upper()}")
    bad = write_game("train/bad/trial/game.tw-pddl", grammar=grammar)
    done: list[int] = []

    refused = compile_ahead([good, bad], tmp_path / "cache", lambda: done.append(1))

    assert list(refused) == [bad] and "o.name.upper()" in refused[bad]
    assert len(done) == 2
    with pytest.raises(UnsupportedGame, match="upper"):
        CompiledGame.load(bad, tmp_path / "cache")
