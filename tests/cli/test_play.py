"""`sand play` and `sand replay` in generated games, through the real engine."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.cli import app
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.exports.records import write_records
from sand_dagster.rows.plain import plain
from sand_dagster.rows.steps import DemonstrationRow, ExpertRow
from sand_dagster.sand.episode import turns_of
from sand_dagster.sand.trajectories import expert_rows
from tests.artifacts.experiment import write
from tests.artifacts.rows import row

_MINE = "extends: household\nenvironment: {kind: household, train: 2, seen: 0, unseen: 0}\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an experiment of two generated games, and the expert's steps in them."""
    home = tmp_path_factory.mktemp("home")
    (home / "experiments").mkdir()
    (home / "experiments/mine.yaml").write_text(_MINE)
    environment = load_experiment("mine", home).environment
    tasks = environment.module.tasks(environment.options, home, lambda *_: None)
    store = ArtifactStore(home, "mine")
    specified = [
        row(
            "tasks",
            task.id,
            environment=task.environment,
            split=task.split,
            kind=task.kind,
            step_limit=task.step_limit,
            spec=json.dumps(dict(task.spec)),
        )
        for task in tasks
    ]
    write(store, "tasks", None, specified)
    experts = environment.module.experts(environment.options, home, tasks, lambda *_: None)
    write(store, "expert_data", None, expert_rows(experts))
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SAND_HOME", str(tmp_path))
    return tmp_path


def sand(*arguments: object, keys: str = "") -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=keys)


def steps(home: Path) -> list[ExpertRow]:
    return list(rows_of(ArtifactStore(home, "mine"), ExpertRow, None))


def test_the_experts_steps_replay_and_win(home: Path) -> None:
    replayed = sand("replay", home / "mine/expert_data/data.parquet")
    assert replayed.exit_code == 0, replayed.output
    assert replayed.stdout.count("kept               row ") == 2
    assert re.search(r"verdict .*trajectories.*\n.*\n *kept +2 *\n", replayed.stdout)
    assert "2 of 2 trajectories match, 2 win, 0 differ or cannot be replayed" in replayed.stdout


def test_the_first_difference_is_printed_with_both_texts(home: Path) -> None:
    rows = steps(home)
    found = rows[1].observation
    rows[1] = replace(rows[1], observation="You see a unicorn.")
    write(ArtifactStore(home, "mine"), "expert_data", None, rows)
    file = home / "mine/expert_data/data.parquet"
    replayed = sand("replay", file)
    assert replayed.exit_code == 1
    assert f"differs first at step 1 {rows[1].action!r}\n" in replayed.stdout
    assert f"recorded: 'You see a unicorn.'\n  found:    {found!r}" in replayed.stdout
    told = json.loads(sand("replay", file, "--json").stdout)
    assert (told["trajectories"], told["failing"], told["won"]) == (2, 1, 2)
    assert told["replayed"][0]["found"] == found
    assert told["verdicts"] == {"kept_reworded": 1, "kept": 1}


def test_a_file_in_etos_format_has_a_verdict_a_row(home: Path) -> None:
    environment = load_experiment("mine", home).environment
    tasks = environment.module.tasks(environment.options, home, lambda *_: None)
    experts = list(environment.module.experts(environment.options, home, tasks, lambda *_: None))
    file, games = home / "experts.json", next((home / "games").glob("*/train")).parent
    write_records(file, environment.module.DOMAIN, experts)
    assert sand("replay", file, "--games", games).exit_code == 0
    rows = json.loads(file.read_text())
    moon = [{"role": "assistant", "content": "Action: go to moon 1"}, {"role": "user", "content": "Landed."}]
    rows[1]["conversations"][1:1] = moon
    file.write_text(json.dumps([*rows, {**rows[0], "game_file": "train/none"}, {"id": "torn"}]))
    replayed = sand("replay", file, "--games", games)
    assert replayed.exit_code == 1
    assert "step 0 'go to moon 1' refused; differs first at step 0 'go to moon 1'" in replayed.stdout
    assert "malformed          row 3: conversations: Field required" in replayed.stdout
    assert "1 of 4 trajectories match, 2 win, 2 differ or cannot be replayed" in replayed.stdout
    told = json.loads(sand("replay", file, "--games", games, "--json").stdout)
    assert told["verdicts"] == {"kept": 1, "refused_action": 1, "unknown_task": 1, "malformed": 1}
    assert [row["row"] for row in told["replayed"]] == [0, 1, 2, 3]


def test_a_rollout_replays_after_the_steps_it_was_played_from(home: Path) -> None:
    store, rows = ArtifactStore(home, "mine"), steps(home)
    first = [step for step in rows if step.trajectory_id == rows[0].trajectory_id]
    demonstrated = [DemonstrationRow(**plain(step), parent_step_id=step.step_id) for step in rows]
    write(store, "expert_trajectories", "01", demonstrated)
    played = turns_of([step.step for step in first], [True] * len(first))
    of_step = {"step_id": first[2].step_id, "task_id": first[2].task_id, "steps": played[2:]}
    write(store, "rollouts", "01", [row("rollouts", "r", **of_step)])
    told = json.loads(sand("replay", home / "mine/rollouts/iteration=01/data.parquet", "--json").stdout)
    assert [(r["steps"], r["differs_at"], r["reward"]) for r in told["replayed"]] == [(len(first), None, 1.0)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.json", None, "there is no file"),
        ("bad.json", "[{}]", "row 0"),
        ("data.parquet", "", "is not a table's file in its place"),
    ],
)
def test_what_cannot_be_replayed_is_one_message(
    home: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (home / name).write_text(content)
    refused = sand("replay", home / name)
    assert (refused.exit_code, message in refused.stderr, refused.stdout) == (1, True, ""), refused.output


def test_a_person_plays_what_the_agent_plays(home: Path) -> None:
    first = steps(home)[0]
    keys = "help\ndance\n" + first.action + "\n"
    played = sand("play", "--experiment", "mine", "--task", first.task_id, keys=keys)
    assert played.exit_code == 0, played.output
    assert played.stdout.startswith(first.instruction)
    assert "Nothing happens.\n[reward 0.00, invalid]" in played.stdout
    assert f"{first.observation}\n[reward 0.00]" in played.stdout
    assert "Ended after 2 turns. Reward: 0.00" in played.stdout


def test_a_task_or_environment_that_is_not_there_is_one_message(home: Path) -> None:
    no_task = sand("play", "--experiment", "mine", "--task", "zz")
    assert no_task.exit_code == 1 and "no task's id contains 'zz'; there are 2" in no_task.stderr
    no_environment = sand("play", "--environment", "chess")
    assert no_environment.exit_code == 2 and "household, scienceworld" in no_environment.stderr
    both = sand("play", "--environment", "household", "--experiment", "mine")
    assert both.exit_code == 2 and "exclude each other" in both.stderr


def test_a_benchmark_without_games_is_one_message(home: Path) -> None:
    refused = sand("bench", "environments", "--games", home)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "game.tw-pddl" in refused.stderr
