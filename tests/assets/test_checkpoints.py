"""What an iteration finetunes, and that a finished finetuning is not repeated."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.assets import stages_of
from sand_dagster.assets.stored_model import stored_model
from sand_dagster.errors import MissingArtifact, TornModel
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.roles import Role
from sand_dagster.rows.models import CheckpointRow, PolicyRow
from sand_dagster.training.job import Report
from tests.artifacts.experiment import write
from tests.artifacts.rows import row
from tests.assets.pipeline import FINETUNED, NAME, Finetuning, Pipeline


@pytest.mark.parametrize(("restart_from", "parent"), [("policy", "small/checkpoints"), ("base", "base")])
def test_finetuning_continues_from_the_policy_or_restarts_from_the_base(
    pipeline: Pipeline, restart_from: str, parent: str
) -> None:
    pipeline.configure(f"finetuning: {{restart_from: {restart_from}, epochs: [3, 1]}}")
    for iteration in ("00", "01", "02"):
        pipeline.materialise(iteration=iteration)
    asked = FINETUNED[-1]
    assert str(asked["parent"]).startswith(str(pipeline.home / parent))
    assert asked["epochs"] == 1  # the last entry is used for all later iterations
    steps = pipeline.store.read("deliberation_trajectories", "02")["step_id"].to_list()
    assert pipeline.store.read("checkpoints", "02")["step_ids"].to_list() == [steps]


def test_a_finetuning_that_is_there_whole_is_not_done_again(pipeline: Pipeline) -> None:
    first = pipeline.store.read("checkpoints", "01")
    assert pipeline.materialise("checkpoints", iteration="01") == []
    assert pipeline.store.read("checkpoints", "01").equals(first)
    (pipeline.home / first["folder"][0] / "config.json").write_text("torn")
    assert pipeline.materialise("checkpoints", iteration="01") == ["finetune"]


class ThreeCards(Finetuning):
    """On three cards the nearest to a batch of eight is nine."""

    def finetune(self, *arguments: Any, **named: Any) -> Report:
        report = super().finetune(*arguments, **named)
        return report.model_copy(update={"devices": 3, "per_device_batch_size": 3})


def test_a_batch_that_the_cards_cannot_make_up_is_said_and_recorded(pipeline: Pipeline) -> None:
    pipeline.materialise("checkpoints", iteration="01", training=ThreeCards(), fresh=True)
    (run,) = pipeline.instance.get_run_records(limit=1)
    log = [entry.user_message for entry in pipeline.instance.all_logs(run.dagster_run.run_id)]
    assert (
        "Each optimiser step was over 9 trajectories, not finetuning.batch_size 8, which 3 devices cannot "
        "make up." in log
    )
    manifest = pipeline.store.require("checkpoints", "01")
    assert (manifest.counts["devices"], manifest.counts["batch_size"]) == (3, 9)


def _trained(home: Path, experiment: str, iteration: str, epochs: int, trained_tokens: int) -> None:
    finetuning = row("checkpoints", f"c{iteration}", epochs=epochs, trained_tokens=trained_tokens)
    write(ArtifactStore(home, experiment), "checkpoints", iteration, [finetuning])


@pytest.mark.parametrize(("deliberated", "epochs"), [(1, 1), (100, 1), (101, 2), (250, 3), (300, 3)])
def test_a_control_is_trained_on_at_least_the_tokens_of_the_experiment_that_deliberates(
    pipeline: Pipeline, deliberated: int, epochs: int
) -> None:
    control = "description: control\nextends: small\nvariant: more_sft\ncontrol_for: small\n"
    (pipeline.home / "experiments" / "control.yaml").write_text(control)
    _trained(pipeline.home, "small", "01", epochs=1, trained_tokens=deliberated)
    of_control = Pipeline(pipeline.home, pipeline.instance, name="control")
    of_control.materialise()
    of_control.materialise(iteration="00", tokens=100)
    of_control.materialise(iteration="01")
    assert FINETUNED[-1]["epochs"] == epochs


def test_a_control_reads_the_checkpoint_it_is_measured_by_and_says_where_it_is_missing(
    tmp_path: Path,
) -> None:
    control, household = (load_experiment(n, tmp_path) for n in ("household-more-sft", "household"))
    (stage,) = (each for each in stages_of(control) if each.name == "checkpoints")
    store = ArtifactStore(tmp_path, control.name)
    for table in ("deliberation_trajectories", "policy", "checkpoints"):
        write(store, table, "00", [])
        write(store, table, "01", [])
    assert "household/checkpoints" not in stage.inputs(control, store, "00")
    with pytest.raises(MissingArtifact, match="Materialise the asset household/checkpoints for iteration 01"):
        stage.inputs(control, store, "01")
    _trained(tmp_path, "household", "01", 1, 10)
    before = stage.inputs(control, store, "01")["household/checkpoints"].content_hash
    _trained(tmp_path, "household", "01", 1, 20)
    assert stage.inputs(control, store, "01")["household/checkpoints"].content_hash != before
    assert not any(
        source.experiment != "household"
        for s in stages_of(household)
        for source in s.sources(household, "01")
    )


def test_a_checkpoint_outside_the_home_counts_as_damaged(pipeline: Pipeline, tmp_path: Path) -> None:
    (checkpoint,) = rows_of(pipeline.store, CheckpointRow, "01")
    outside = tmp_path / "outside"
    shutil.copytree(pipeline.home / checkpoint.folder, outside)
    for folder in (str(outside), os.path.relpath(outside, pipeline.home)):
        moved = replace(checkpoint, folder=folder)
        with pytest.raises(TornModel, match=r"found a folder outside \$SAND_HOME.* finetunes it again"):
            stored_model(pipeline.home, moved, NAME, "01")
        policy = PolicyRow(
            policy_id="p",
            role=Role.POLICY,
            checkpoint_id=checkpoint.checkpoint_id,
            model_id=checkpoint.model_id,
            folder=folder,
        )
        with pytest.raises(TornModel, match="outside"):
            stored_model(pipeline.home, policy, NAME, "01")


@pytest.mark.parametrize("stage", ["eval_episodes", "policy"])
def test_a_stage_that_is_given_a_torn_model_names_what_to_make_again(pipeline: Pipeline, stage: str) -> None:
    (checkpoint,) = pipeline.store.read("checkpoints", "01").to_dicts()
    weights = pipeline.home / checkpoint["folder"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(dg.Failure, match=r"damaged: small/checkpoints for iteration 01 .*finetunes it again"):
        pipeline.materialise(stage, iteration="01" if stage == "eval_episodes" else "02")
