"""`docs/write-an-environment.md` shows the example's code, and the example is a complete environment."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from sand_dagster import environments
from sand_dagster.cli import app
from sand_dagster.environments import environment_kind
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.interfaces import ReplayMismatch
from sand_dagster.types import Completion, Message, Sampling, Step
from tests.assets import pipeline
from tests.assets.pipeline import Pipeline
from tests.docs.blocks import ROOT, blocks

PAGE = ROOT / "docs" / "write-an-environment.md"
EXAMPLE = ROOT / "examples" / "guess-the-number"
MODULE = "guess_the_number.environment"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)


def test_the_page_shows_the_files_as_they_are() -> None:
    shown = blocks(PAGE)
    assert shown == [(EXAMPLE / "guess_the_number" / "environment.py").read_text(encoding="utf-8")]
    text = PAGE.read_text(encoding="utf-8")
    for name in ("pyproject.toml", "guess.yaml"):
        assert (EXAMPLE / name).read_text(encoding="utf-8") in text


async def test_real_workers_play_replay_and_fork_it(tmp_path: Path) -> None:
    kind = environment_kind(MODULE)
    options = kind.Options.model_validate({})
    tasks = kind.tasks(options, tmp_path, lambda *_: None)
    assert {split: sum(t.split == split for t in tasks) for split in ("train", "seen", "unseen")} == {
        "train": 8,
        "seen": 7,
        "unseen": 15,
    }
    experts = list(kind.experts(options, tmp_path, tasks, lambda *_: None))
    async with EnvironmentPool(MODULE, options, tmp_path, workers=2) as pool:

        async def last_step(expert: Any) -> Any:
            episode = await pool.open(expert.task, expert.steps[:-1])
            return await episode.step(expert.steps[-1].action)

        ended = await asyncio.gather(*map(last_step, experts))
        again = await asyncio.gather(*map(last_step, experts))
        assert ended == again and all(each.done and each.reward == 1 for each in ended)
        assert pool.counts.forks == len(experts)
        refused = await (await pool.open(tasks[0])).step("look")
        assert not refused.valid and refused.observation == kind.DOMAIN.refusal
        with pytest.raises(ReplayMismatch):
            await pool.open(tasks[0], [Step("", "guess 9", "Higher.")])


class Guesser(pipeline._Model):
    """Counts up from 1, or answers like the scripted model of the other tests."""

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        completion = await super().complete(messages, sampling)
        if completion.text.startswith("Thought: I look."):
            turn = len(messages) // 2 + 1 + sampling.seed % 2
            return Completion(f"Thought: Perhaps {turn}.\nAction: guess {turn}", 10, 5, "stop")
        return completion


@pytest.fixture
def guessing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pipeline, "_Model", Guesser)
    with dg.DagsterInstance.ephemeral() as instance:
        made = Pipeline(tmp_path / "home", instance)
        made.configure(f"environment: {{kind: {MODULE}, highest: 5}}\n")
        yield made


def test_a_whole_experiment_runs_in_it(guessing: Pipeline) -> None:
    guessing.materialise()
    guessing.materialise(iteration="00")
    guessing.materialise(iteration="01")
    read = guessing.store.read
    experts = read("expert_data", None)
    assert set(experts["reward"]) == {1.0} and experts["trajectory_id"].n_unique() == 3
    candidates = read("candidate_actions", "01")
    assert candidates["deliberates"].any() and set(candidates["action"]) >= {"guess 1", "guess 3"}
    rollouts = read("rollouts", "01")
    assert set(rollouts["reward"]) <= {0.0, 1.0} and 1.0 in set(rollouts["reward"])
    assert len(read("critiques", "01")) == len(rollouts) > 0
    steps = read("deliberation_trajectories", "01")
    assert steps["action"].to_list() == experts["action"].to_list()
    scores = {row["split"]: row for row in read("eval_scores", "01").to_dicts()}
    assert (scores["seen"]["tasks"], scores["unseen"]["tasks"]) == (2, 5)
    assert scores["seen"]["average_reward"] == 1.0  # counting up finds 2 and 4 within eight turns


def test_it_can_be_played_at_the_keyboard_by_the_name_of_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAND_HOME", str(tmp_path))
    play = ["play", "--environment", MODULE, "--task", "guess/train/3"]
    played = CliRunner().invoke(app, play, input="guess 8\nguess 3\n")
    assert played.exit_code == 0, played.output
    assert "from 1 to 15" in played.output and "Lower." in played.output and "That is it." in played.output
    unknown = CliRunner().invoke(app, ["play", "--environment", "no_package.no_module"])
    assert unknown.exit_code == 2 and "cannot be imported" in unknown.output


def test_an_environment_may_be_one_module_in_no_package(
    guessing: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(EXAMPLE / "guess_the_number" / "environment.py", tmp_path / "guessing_alone.py")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("guess-alone", "guessing_alone", environments._GROUP)
    monkeypatch.setattr(environments, "_registered", lambda: {"guess-alone": point})
    guessing.configure("environment: {kind: guess-alone, highest: 5}\n")
    guessing.materialise()
    guessing.materialise(iteration="00")
    assert len(guessing.store.read("eval_scores", "00")) == 2
