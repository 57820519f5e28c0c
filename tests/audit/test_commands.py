"""`sand show --prompt` and `sand diff`, as typed in a shell."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import toy_alfworld.model
from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.cli import app
from sand_dagster.prompts import figures
from sand_dagster.rows.candidates import CritiqueRow
from sand_dagster.rows.evaluation import EpisodeRow
from tests.assets.pipeline import NAME, Pipeline

Sand = Callable[..., Result]


@pytest.fixture
def home(small: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to change."""
    home = tmp_path / "home"
    shutil.copytree(small.home, home)
    monkeypatch.setenv("SAND_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")
    return home


@pytest.fixture
def sand(home: Path) -> Sand:
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_the_prompt_behind_a_row_is_shown_and_its_hash_agrees(small: Pipeline, sand: Sand) -> None:
    critique = small.store.read("critiques", "01").row(0, named=True)
    shown = sand("show", NAME, "critiques", "01", "--prompt", "--where", critique["critique_id"])
    assert shown.exit_code == 0, shown.output
    assert "[user]" in shown.stdout and "Action Evaluation" in shown.stdout
    assert f"rebuilt, hash agrees: prompt {critique['prompt_hash'][:16]}" in shown.stdout


def test_a_turn_of_an_episode_is_shown_with_the_turns_before_it(small: Pipeline, sand: Sand) -> None:
    episode = small.store.read("eval_episodes", "01").row(0, named=True)
    asked = ("show", NAME, "eval_episodes", "01", "--prompt", "--json", "--where", episode["episode_id"])
    (first,) = json.loads(sand(*asked, "--turn", "1").stdout)
    (second,) = json.loads(sand(*asked, "--turn", "2").stdout)
    assert [message["role"] for message in first["messages"]] == ["user"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]
    assert second["messages"][2]["content"] == f"Observation: {episode['steps'][0]['observation']}"
    assert first["agrees"] and second["agrees"]
    beyond = sand(*asked, "--turn", "99")
    assert beyond.exit_code == 2 and "turn 99 was requested" in beyond.stderr


def test_a_rendered_prompt_is_the_chat_template_s_text(small: Pipeline, home: Path, sand: Sand) -> None:
    weights = Path(toy_alfworld.model.__file__).parent / "weights"
    model = home / NAME / "checkpoints" / "iteration=01" / "model"
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(weights / name, model)
    shown = sand("show", NAME, "eval_episodes", "01", "--prompt", "--turn", "1", "--rendered", "--limit", "1")
    assert shown.exit_code == 0, shown.output
    assert "[user]" not in shown.stdout and "<|user|>" in shown.stdout
    assert "tokens by the model's tokenizer" in shown.stdout


def test_a_prompt_that_is_not_the_one_that_was_given_ends_with_1(
    sand: Sand, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = figures.template("critique")
    monkeypatch.setattr(figures, "template", lambda name: was + " now")
    shown = sand("show", NAME, "critiques", "01", "--prompt", "--limit", "1")
    assert shown.exit_code == 1, shown.output
    assert "rebuilt, and NOT the one that was given" in shown.stdout


def _made(store: ArtifactStore, run: str, critique: str, rewards: tuple[float, float]) -> None:
    """Other critiques and rewards in iteration 01, by the run `run`."""
    critiques = [dataclasses.replace(row, critique=critique) for row in rows_of(store, CritiqueRow, "01")]
    episodes = [
        dataclasses.replace(row, reward=reward)
        for row, reward in zip(rows_of(store, EpisodeRow, "01"), rewards, strict=True)
    ]
    for table, rows in (("critiques", critiques), ("eval_episodes", episodes)):
        with store.writing(table, "01", inputs={}, identity=Identity(), seed=0, run_id=run) as writer:
            writer.commit(rows, {})


def test_two_runs_side_by_side_with_the_tasks_that_were_won_and_lost(home: Path, sand: Sand) -> None:
    store = ArtifactStore(home, NAME)
    _made(store, "earlier-run", "It helps.", (1.0, 0.0))
    _made(store, "later-run", "It does not help.", (0.0, 1.0))
    shown = sand("diff", f"{NAME}@earlier", f"{NAME}@later")
    assert shown.exit_code == 0, shown.output
    changed = store.read("critiques", "01").height
    assert f"{changed} rows of run earlier- → {changed} of run later-ru: 0 the same, {changed} changed" in (
        shown.stdout
    )
    before_and_after = [line for line in shown.stdout.splitlines() if "It helps." in line]
    assert before_and_after and all("It does not help." in line for line in before_and_after)
    lost, won = (row.task_id for row in rows_of(store, EpisodeRow, "01"))
    assert "1 won, 1 lost, 0 the same" in shown.stdout
    assert f"{won}: 0 → 1" in shown.stdout and f"{lost}: 1 → 0" in shown.stdout
    same = sand("diff", f"{NAME}@later", NAME)
    assert "the tables are the same" in same.stdout and "0 won, 0 lost, 2 the same" in same.stdout
