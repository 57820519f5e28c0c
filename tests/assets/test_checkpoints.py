"""What an iteration finetunes, and that a finetuning that is already there is not done twice."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sand_dagster.artifacts.errors import MissingArtifact
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets import checkpoints, stages_of
from sand_dagster.experiment import load_experiment
from sand_dagster.training.job import Progress, Report
from tests.artifacts.experiment import write
from tests.artifacts.rows import row
from tests.sand.scripted import MemoryJournal, demonstration

POINT = Progress(step=1, steps=1, epoch=1.0, loss=0.5, learning_rate=1e-5, tokens_per_second=9.0)


class Trainer:
    """Writes a folder that looks like a model, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def finetune(self, experiment: object, conversations: object, **asked: Any) -> Report:
        from sand_dagster.generation.model_folder import model_id

        self.asked.append(asked)
        asked["output"].mkdir(parents=True, exist_ok=True)
        (asked["output"] / "config.json").write_text("{}")
        asked["on_progress"](POINT)
        return Report(
            examples=1,
            dropped=0,
            truncated=0,
            tokens=9,
            trained_tokens=5,
            epochs=asked["epochs"],
            seed=asked["seed"],
            seconds=1.0,
            device="cpu",
            dtype="float32",
            loss_curve=[POINT],
            versions={},
            files={"config.json": "0"},
            model_id=model_id(asked["output"]),
        )


def _run(home: Path, trainer: Trainer, restart_from: str, name: str = "household") -> Any:
    experiment = load_experiment(name, home)
    finetuning = experiment.finetuning.model_copy(update={"restart_from": restart_from, "epochs": (3, 1)})
    tables = {
        "deliberation_trajectories": list(demonstration().rows),
        "policy": [{"policy_id": "p", "model_id": "m1", "folder": "pi_k"}],
        "base_model": [{"model_id": "m0", "folder": "base"}],
    }
    return SimpleNamespace(
        experiment=experiment.model_copy(update={"finetuning": finetuning}),
        iteration="02",
        number=2,
        rows=lambda table, iteration=None: (
            ArtifactStore(home, name).read(table, iteration).to_dicts() if iteration else tables[table]
        ),
        store=SimpleNamespace(home=home),
        writer=SimpleNamespace(folder=home / "out", journal=MemoryJournal()),
        progress=SimpleNamespace(counted=lambda *_: None, note=""),
        report=lambda: None,
        generation=SimpleNamespace(release=lambda: None),
        training=trainer,
    )


@pytest.mark.parametrize(("restart_from", "parent"), [("policy", "pi_k"), ("base", "base")])
def test_finetuning_goes_on_from_the_policy_or_restarts_from_the_base(
    restart_from: str, parent: str, tmp_path: Path
) -> None:
    trainer = Trainer()
    result = checkpoints.body(_run(tmp_path, trainer, restart_from))
    assert trainer.asked[0]["parent"] == tmp_path / parent
    assert trainer.asked[0]["epochs"] == 1  # the last entry goes for all later iterations
    assert result.rows[0]["step_ids"] == [row["step_id"] for row in demonstration().rows]


def test_a_finetuning_that_is_there_whole_is_not_done_again(tmp_path: Path) -> None:
    trainer = Trainer()
    run = _run(tmp_path, trainer, "policy")
    first = checkpoints.body(run)
    assert checkpoints.body(run).rows == first.rows and len(trainer.asked) == 1
    (tmp_path / "out" / "model" / "config.json").write_text("torn")
    checkpoints.body(run)
    assert len(trainer.asked) == 2


def _trained(home: Path, experiment: str, iteration: str, epochs: int, trained_tokens: int) -> None:
    finetuning = row("checkpoints", f"c{iteration}", epochs=epochs, trained_tokens=trained_tokens)
    write(ArtifactStore(home, experiment), "checkpoints", iteration, [finetuning])


@pytest.mark.parametrize(("deliberated", "epochs"), [(1, 1), (100, 1), (101, 2), (250, 3), (300, 3)])
def test_a_control_is_trained_on_at_least_the_tokens_of_the_experiment_that_deliberates(
    deliberated: int, epochs: int, tmp_path: Path
) -> None:
    _trained(tmp_path, "household-more-sft", "01", epochs=5, trained_tokens=500)
    _trained(tmp_path, "household", "02", epochs=1, trained_tokens=deliberated)
    trainer = Trainer()
    checkpoints.body(_run(tmp_path, trainer, "policy", "household-more-sft"))
    assert trainer.asked[0]["epochs"] == epochs


def test_a_control_reads_the_checkpoint_it_is_measured_by_and_says_where_it_is_missing(
    tmp_path: Path,
) -> None:
    control, household = (load_experiment(n, tmp_path) for n in ("household-more-sft", "household"))
    (stage,) = (each for each in stages_of(control) if each.name == "checkpoints")
    store = ArtifactStore(tmp_path, control.name)
    for table in ("deliberation_trajectories", "policy"):
        write(store, table, "00", [])
        write(store, table, "01", [])
    write(store, "base_model", None, [])
    assert "checkpoints@control_for" not in stage.inputs(control, store, "00")
    with pytest.raises(MissingArtifact, match="Materialise the asset household/checkpoints for iteration 01"):
        stage.inputs(control, store, "01")
    _trained(tmp_path, "household", "01", 1, 10)
    before = stage.inputs(control, store, "01")["checkpoints@control_for"].content_hash
    _trained(tmp_path, "household", "01", 1, 20)
    assert stage.inputs(control, store, "01")["checkpoints@control_for"].content_hash != before
    assert not any("control_for" in name for each in stages_of(household) for name in each.reads)
