"""The paper's figures are shown only for its own experiments."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.cli import app
from sand_dagster.evaluation.published import LLAMA, PUBLISHED, QWEN, published_reward
from sand_dagster.evaluation.table1 import TASKS
from sand_dagster.experiments.loading import load_experiment, load_experiments
from tests.artifacts.experiment import write
from tests.artifacts.rows import row


def _shared() -> Path:
    return Path(os.environ.get("SAND_SHARED", "../shared")) / "paper" / "sand.txt"


def _mine(home: Path, text: str) -> None:
    (home / "experiments").mkdir(exist_ok=True)
    (home / "experiments" / "mine.yaml").write_text(text)


def _published(home: Path, name: str, iteration: str, split: str = "seen") -> float | None:
    experiment = load_experiment(name, home)
    tasks = {**TASKS, "webshop": {"unseen": 200}}.get(experiment.environment.kind, {}).get(split, 100)
    return published_reward(experiment, iteration, split, tasks, home)


@pytest.mark.parametrize(
    ("name", "iteration", "split", "figure"),
    [
        ("alfworld-llama31-8b", "00", "seen", 0.793),
        ("alfworld-llama31-8b", "01", "unseen", 0.918),
        ("alfworld-qwen25-7b", "02", "unseen", 0.896),
        ("scienceworld-llama31-8b", "03", "unseen", 0.791),
        ("scienceworld-qwen25-7b", "00", "seen", 0.692),
        ("scienceworld-qwen25-7b", "03", "seen", 0.84),
        ("alfworld-llama31-8b-put-toggle", "03", "seen", 0.943),
        ("alfworld-qwen25-7b-base", "00", "seen", 0.714),
        ("scienceworld-llama31-8b-base", "00", "unseen", 0.422),
        ("alfworld-qwen25-7b-without-critique", "01", "unseen", 0.75),
        ("scienceworld-qwen25-7b-without-sampling", "01", "seen", 0.635),
        ("alfworld-llama31-8b", "04", "seen", None),
        ("alfworld-llama31-8b-eto", "03", "seen", 0.771),
        ("alfworld-llama31-8b-eto", "03", "unseen", 0.764),
        ("alfworld-llama31-8b-eto", "01", "seen", None),
        ("webshop-llama31-8b", "00", "unseen", 0.654),
        ("webshop-llama31-8b", "02", "unseen", 0.724),
        ("webshop-small-llama31-8b", "02", "unseen", None),
        ("toy-webshop", "01", "unseen", None),
        ("household", "01", "seen", None),
        ("toy-scienceworld", "01", "seen", None),
    ],
)
def test_the_papers_profiles_have_the_papers_rewards(
    name: str, iteration: str, split: str, figure: float | None, tmp_path: Path
) -> None:
    assert _published(tmp_path, name, iteration, split) == pytest.approx(figure)


def test_every_figure_has_a_profile_that_ships(tmp_path: Path) -> None:
    shipped, _ = load_experiments(tmp_path)
    ours = {
        (each.model.base, f"{each.environment.kind}_{split}", _published(tmp_path, name, iteration, split))
        for name, each in shipped.items()
        if each.model.base in (LLAMA, QWEN)
        for iteration in each.partitions
        for split in ("seen", "unseen")
    }
    _mine(tmp_path, "extends: webshop-llama31-8b\nfinetuning: {epochs: [0]}\n")
    ours.add((LLAMA, "webshop_unseen", _published(tmp_path, "mine", "00", "unseen")))
    for (model, method), figures in PUBLISHED.items():
        for column, figure in figures._asdict().items():
            assert figure is None or (model, column, figure / 100) in ours, (model, method, column)


@pytest.mark.parametrize(
    ("change", "rewards"),
    [
        ("finetuning: {epochs: [0]}", {"00": 0.229, "01": None}),
        (
            "variant: without_sampling\ntask_instruction: full\ndeliberation: {expert_switch: never}",
            {"00": 0.793, "01": 0.857, "02": None},
        ),
        (
            "variant: without_critique\ndeliberation: {expert_switch: never}",
            {"00": 0.793, "01": 0.85, "02": None},
        ),
        ("environment: {grammar: put_toggle}", {"00": 0.793, "01": 0.929}),
        (
            "seed: 3\nenvironment: {games: /data, experts: /data/e.json}\n"
            "finetuning: {per_device_batch_size: 4}",
            {"00": 0.793, "01": 0.929},
        ),
    ],
)
def test_the_base_model_and_the_ablations_have_their_own(
    change: str, rewards: dict[str, float | None], tmp_path: Path
) -> None:
    _mine(tmp_path, f"extends: alfworld-llama31-8b\n{change}\n")
    for iteration, figure in rewards.items():
        assert _published(tmp_path, "mine", iteration) == pytest.approx(figure), iteration


@pytest.mark.parametrize(
    "change",
    [
        "sampling: {n: 3}",
        "task_instruction: full",
        "model: {base: Qwen/Qwen2.5-1.5B-Instruct}",
        "model: {revision: v2}",
        "environment: {step_limit: 40}",
        "environment: {experts: null}",
        "protocol: eto",
        "finetuning: {method: lora}",
        "finetuning: {epochs: [3]}",
        "evaluation: {temperature: 0.5}",
        "variant: more_sft\ncontrol_for: alfworld-llama31-8b\ndeliberation: {expert_switch: never}",
        "generation: {policy: {url: 'http://127.0.0.1:1/v1', model: 'mine-{checkpoint}'}}",
    ],
)
def test_a_changed_experiment_has_none(change: str, tmp_path: Path) -> None:
    _mine(tmp_path, f"extends: alfworld-llama31-8b\n{change}\n")
    for iteration in ("00", "01"):
        assert _published(tmp_path, "mine", iteration) is None


def test_a_part_of_the_split_has_none(tmp_path: Path) -> None:
    experiment = load_experiment("alfworld-llama31-8b", tmp_path)
    assert published_reward(experiment, "01", "seen", 139, tmp_path) is None
    assert published_reward(experiment, "01", "seen", 134, tmp_path) is None


def test_scores_show_the_papers_reward_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAND_HOME", str(tmp_path))
    for name in ("alfworld-llama31-8b", "household"):
        scores = [
            row("eval_scores", split, split=split, tasks=tasks, average_reward=0.5, protocol="paper")
            for split, tasks in (("seen", 140), ("unseen", 100))
        ]
        write(ArtifactStore(tmp_path, name), "eval_scores", "01", scores)
    told = CliRunner().invoke(app, ["scores", "alfworld-llama31-8b", "--json"]).stdout
    assert [each["published_reward"] for each in json.loads(told)] == [0.929, None]
    table = CliRunner().invoke(app, ["scores", "alfworld-llama31-8b"]).stdout
    assert "the paper's" in table and "92.9%" in table
    assert "the paper's" not in CliRunner().invoke(app, ["scores", "household"]).stdout


@pytest.mark.skipif(not _shared().is_file(), reason="the paper's text is not in the folder SAND_SHARED")
def test_the_figures_are_those_in_the_papers_text() -> None:
    lines = [line.replace("<u>", "").replace("</u>", "") for line in _shared().read_text().splitlines()]
    names = {LLAMA: "Llama-3.1-8B-Instruct", QWEN: "Qwen2.5-7B-Instruct"}
    for (model, method), figures in PUBLISHED.items():
        if method.startswith("without"):
            start = next(n for n, line in enumerate(lines) if line.startswith(f"<i>{names[model]}</i>"))
            label = {"without_sampling": "SAND _{w/o} SAS", "without_critique": "SAND _{w/o} EAC"}[method]
            line = next(line for line in lines[start:] if line.startswith(label))
            found = line.split("\t")[1:5]
        else:
            suffix = {"base": " (", "sft": " + SFT (", "eto": " + ETO ("}.get(
                method, f" + SAND (Iteration {method[-1]})"
            )
            line = next(line for line in lines if line.startswith(names[model] + suffix) and "\t" in line)
            found = line.split("\t")[2:6]
        shown = zip(figures, found, strict=False)
        assert all(figure is None or f"{figure}" == text for figure, text in shown), (model, method)
        if figures.webshop_unseen is not None:
            label = {"base": "Base", "sft": "SFT"}.get(method, f"SAND (Iteration {method[-1]})")
            assert f"{label}\t{figures.webshop_unseen}" in lines
