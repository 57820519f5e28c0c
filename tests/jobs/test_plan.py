"""`sand plan` before and after each kind of change, and that `sand run` follows it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from sand_dagster.assets import code
from sand_dagster.jobs.plan import Planned, plan, stale_scores
from tests.assets.pipeline import Pipeline, finished, write_model

MODELS = (
    "candidate_actions",
    "rollouts",
    "critiques",
    "deliberation_trajectories",
    "checkpoints",
    "eval_episodes",
)
"""The stages that ask a model, or train one."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with finished(tmp_path_factory.mktemp("finished")) as pipeline:
        yield pipeline


@pytest.fixture
def changed(made: Pipeline, tmp_path: Path) -> Pipeline:
    """A copy to change: the home has moved."""
    home = tmp_path / "moved"
    shutil.copytree(made.home, home)
    return Pipeline(home, made.instance)


def planned(pipeline: Pipeline, until: str = "01") -> list[Planned]:
    return plan(pipeline.experiment, pipeline.store, pipeline.instance, until)


def roots(pipeline: Pipeline, until: str = "01") -> dict[str, tuple[str, ...]]:
    """The reasons by stage and iteration, without those that only follow from earlier stages."""
    own = {
        f"{each.stage} {each.iteration or ''}".strip(): each.own_reasons for each in planned(pipeline, until)
    }
    return {stage: reasons for stage, reasons in own.items() if reasons}


def test_a_home_that_has_moved_is_complete(changed: Pipeline) -> None:
    assert roots(changed) == {}
    assert all(each.complete for each in planned(changed))


def test_what_is_not_made_yet_is_counted_as_far_as_it_is_known(changed: Pipeline) -> None:
    found = {each.stage: each for each in planned(changed, "02") if each.iteration == "02"}
    assert found["expert_trajectories"].reasons == ("not made yet",)
    assert (found["candidate_actions"].journalled, found["candidate_actions"].to_do) == (None, None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("sampling: {n: 3}", {"candidate_actions": "config: sampling.n 2 → 3"}),
        (
            "rollouts: {temperature: 0.5}",
            {"rollouts": "config: rollouts.temperature 1.0 → 0.5"},
        ),
        (
            "finetuning: {chat_template: qwen-2.5}",
            dict.fromkeys(
                MODELS,
                "config: finetuning.chat_template auto → qwen-2.5",
            ),
        ),
        (
            "seed: 1",
            dict.fromkeys(
                (*MODELS, "eval_scores"),
                "config: seed 0 → 1",
            ),
        ),
    ],
)
def test_a_changed_setting_is_named_with_both_values(
    changed: Pipeline, change: str, expected: dict[str, str]
) -> None:
    changed.configure(change)
    assert roots(changed) == {
        f"{stage} {iteration}": (reason,) for iteration in ("00", "01") for stage, reason in expected.items()
    }


def test_the_units_to_do_are_counted_and_the_scores_are_stale(changed: Pipeline) -> None:
    changed.configure("sampling: {n: 3}")
    steps = changed.store.read("expert_trajectories", "01").height
    found = {(each.stage, each.iteration): each for each in planned(changed)}
    sampling = found["candidate_actions", "01"]
    assert (sampling.journalled, sampling.to_do) == (None, None), "00 is to be run before"
    assert found["candidate_actions", "00"].to_do is not None
    stale = stale_scores(planned(changed))
    assert stale.keys() == {"00", "01"}
    assert "candidate_actions 00: config: sampling.n 2 → 3" in stale["01"]
    changed.materialise(iteration="00")
    changed.materialise("candidate_actions", iteration="01", limit=1)
    sampling = next(
        each for each in planned(changed) if (each.stage, each.iteration) == ("candidate_actions", "01")
    )
    assert (sampling.journalled, sampling.to_do) == (1, steps - 1)


def test_an_altered_game_is_made_again_and_nothing_after_it(changed: Pipeline) -> None:
    (task,) = changed.store.read("tasks", None).filter(split="train").to_dicts()
    (game,) = changed.home.glob(f"games/*/{json.loads(task['spec'])['game']}")
    game.write_text(game.read_text() + " ")
    assert [*roots(changed)] == ["tasks", "expert_import"]
    assert all("file: altered game nothing → train/" in why[0] for why in roots(changed).values())
    changed.materialise("tasks")
    changed.materialise("expert_import")
    assert roots(changed) == {}


def test_another_base_model_is_seen_and_the_same_elsewhere_is_not(changed: Pipeline) -> None:
    shutil.copytree(changed.home / "base", changed.home / "elsewhere")
    changed.configure(f"model: {{base: {changed.home / 'elsewhere'}}}")
    assert roots(changed) == {}
    write_model(changed.home / "elsewhere", "another")
    assert [*roots(changed)] == ["base_model"]
    assert roots(changed)["base_model"][0].startswith("file: model ")
    shutil.rmtree(changed.home / "elsewhere")
    assert [*roots(changed)] == ["base_model"]


@pytest.mark.parametrize("damage", ["parquet", "manifest", "model", "model, its size and time as before"])
def test_damage_is_found_and_mended_by_running_again(changed: Pipeline, damage: str) -> None:
    folder = changed.store.folder("checkpoints", "01")
    file = {
        "parquet": folder / "data.parquet",
        "manifest": folder / "manifest.json",
        "model": folder / "model" / "model.safetensors",
    }[damage.partition(",")[0]]
    stat, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content) if damage != "manifest" else file.read_bytes()[:-20])
    if "time" in damage:
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    found = roots(changed)
    assert [*found] == ["checkpoints 01"] and found["checkpoints 01"][0].startswith("damaged: ")
    before = changed.store.read("eval_scores", "01")
    changed.materialise("checkpoints", iteration="01")
    assert roots(changed) == {}
    assert changed.store.read("eval_scores", "01").equals(before)


def test_tables_that_dagster_did_not_see_are_run_again(changed: Pipeline) -> None:
    with dg.DagsterInstance.ephemeral() as other:
        found = plan(changed.experiment, changed.store, other, "00")
    assert all("unknown to this Dagster instance" in each.reasons for each in found)
    assert all(each.complete for each in plan(changed.experiment, changed.store, None, "01"))


def test_what_concerns_the_machine_alone_changes_nothing(
    changed: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WORKERS": "3", "MAX_CONCURRENCY": "7", "KV_CACHE_GIB": "0.5"}.items():
        monkeypatch.setenv(f"SAND_{name}", value)
    assert roots(changed) == {}


def test_an_edited_prompt_is_named(
    changed: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skipped = shutil.ignore_patterns("__pycache__", "*.safetensors", "tokenizer.json")
    for name in (*code.OURS, "toy_alfworld"):
        shutil.copytree(code._folder(name) / name, tmp_path / name, ignore=skipped)
    prompt = tmp_path / "sand_dagster" / "prompts" / "critique.txt"
    prompt.write_text(prompt.read_text() + "\nBe brief.")
    monkeypatch.setattr(code, "_folder", lambda name: tmp_path)
    assert set(roots(changed).values()) == {("code: sand_dagster/prompts/critique.txt",)}
    assert {stage.split()[0] for stage in roots(changed)} == {"critiques"}
