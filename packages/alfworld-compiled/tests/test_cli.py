"""The command `alfworld-compiled`, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import alfworld_compiled
from alfworld_compiled.cli import main
from alfworld_compiled.testing import WALKTHROUGH

WriteGame = Callable[..., Path]


def test_a_game_is_played(
    kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = iter(["?", "dance", *WALKTHROUGH])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))

    assert main(["play", str(kitchen), "--cache", str(tmp_path / "cache")]) == 0

    said = capsys.readouterr().out
    assert "put a hot apple in fridge" in said and "\ngo to microwave 1\n" in said
    assert "Nothing happens." in said and said.endswith("You have done it.\n")


def test_games_are_compiled_and_refusals_named(
    write_game: WriteGame, shipped: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_game()
    grammar = shipped["grammar"].replace("{o.indefinite} {o.name}", "{o.name.upper()}")
    bad = write_game("train/bad/trial/game.tw-pddl", grammar=grammar)

    assert main(["compile", str(tmp_path / "games"), "--cache", str(tmp_path / "cache")]) == 1

    said = capsys.readouterr().out
    assert said.startswith(f"1 games are compiled in {tmp_path / 'cache'}") and f"refused {bad}: " in said


def test_a_mistake_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--games", str(tmp_path / "nothing")]) == 2
    assert "there is no games folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_benchmark(
    write_game: WriteGame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_game()
    out = tmp_path / "figures" / "report.json"

    monkeypatch.setattr("sys.argv", ["alfworld-compiled", "bench"])
    assert main(["bench", "--games", str(tmp_path / "games"), "--out", str(out)]) == 0

    written = json.loads(out.read_text())
    assert written["command"].startswith("alfworld-compiled ") and written["date"]
    report = written["report"]
    assert (report["games"], report["wins"], report["differences"]) == (1, 1, 0)
    ways = {rate["way"]: rate["steps_a_second"] for rate in report["throughput"]["rates"]}
    assert ways["compiled, AlfworldBatchEnv"] > 10 * ways["stock, a process a game, in step"]
    assert "0 differences" in capsys.readouterr().out


def test_no_word_of_the_project_that_it_comes_from() -> None:
    for path in Path(alfworld_compiled.__file__).parent.rglob("*.py"):
        words = path.read_text().lower().replace("thousand", "").replace("sandbox", "")
        assert "sand" not in words and "dagster" not in words, path
