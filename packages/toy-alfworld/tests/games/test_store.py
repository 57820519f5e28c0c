"""Generated games are made once, found again, and finished after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from sand_dagster.types import Task
from toy_alfworld import games as household
from toy_alfworld.games.generation import make_game

OPTIONS = household.Options(train=7, seen=4, unseen=3)
_MANY = household.Options(train=150, seen=0, unseen=0)
_GENERATE = (
    "import sys; from pathlib import Path; from toy_alfworld import games as household\n"
    "options = household.Options.model_validate_json(sys.argv[1])\n"
    "household.tasks(options, Path(sys.argv[2]), lambda done, total: None)\n"
)


def quiet(done: int, total: int) -> None:
    """Progress that is not shown."""


def folder_of(home: Path) -> Path:
    (folder,) = (path for path in (home / "games").iterdir() if path.is_dir())
    return folder


def contents(home: Path) -> dict[str, bytes]:
    folder = folder_of(home)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def generate(home: Path, options: household.Options = OPTIONS) -> list[Task]:
    return household.tasks(options, home, quiet)


def test_games_are_made_once_with_progress(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    tasks = household.tasks(OPTIONS, tmp_path, lambda *p: heard.append(p))
    assert len(tasks) == 14 and heard[0] == (1, 14) and heard[-1] == (14, 14)
    before = {p: p.stat().st_mtime_ns for p in folder_of(tmp_path).rglob("*") if p.is_file()}
    assert generate(tmp_path) == tasks
    assert before == {p: p.stat().st_mtime_ns for p in folder_of(tmp_path).rglob("*") if p.is_file()}
    for task in tasks:
        assert json.loads((folder_of(tmp_path) / str(task.spec["game"])).read_text())["solvable"] is True


def test_other_options_make_another_folder(tmp_path: Path) -> None:
    first = generate(tmp_path)
    other = generate(tmp_path, OPTIONS.model_copy(update={"seed": 1}))
    assert len(list((tmp_path / "games").glob("household-*/"))) == 2
    assert not {task.id for task in first} & {task.id for task in other}


def test_torn_and_missing_files_are_made_again(tmp_path: Path) -> None:
    tasks = generate(tmp_path)
    whole = contents(tmp_path)
    folder = folder_of(tmp_path)
    torn, missing = folder / str(tasks[0].spec["game"]), folder / str(tasks[1].spec["game"])
    torn.write_bytes(torn.read_bytes()[:100])
    missing.unlink()
    torn.with_name("game.tw-pddl.unfinished").write_text("{")
    assert generate(tmp_path) == tasks
    assert contents(tmp_path) == whole
    (folder / "games.json").write_text('{"train": {')
    assert generate(tmp_path) == tasks
    assert contents(tmp_path) == whole


def test_a_killed_generation_is_finished_by_the_next(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-c", _GENERATE, _MANY.model_dump_json(), str(killed)])
    deadline = time.monotonic() + 30
    while len(list(killed.glob("games/*/train/*/*/game.tw-pddl"))) < 5:
        assert time.monotonic() < deadline and process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(killed.glob("games/*/games.json"))
    assert generate(killed, _MANY) == generate(whole, _MANY)
    assert contents(killed) == contents(whole)


def test_several_processes_may_ask_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _GENERATE, OPTIONS.model_dump_json(), str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert len(contents(tmp_path)) == 15


def test_a_game_is_the_same_alone_as_among_others(tmp_path: Path) -> None:
    tasks = generate(tmp_path)
    game = make_game("0 0", "train", "pick_and_place_simple")
    assert str(tasks[0].spec["game"]) == game.path
    assert json.loads(contents(tmp_path)[game.path]) == game.file()
