"""What `sand run` takes for complete."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets import stages_of
from sand_dagster.experiment import load_experiment
from sand_dagster.generation.model_folder import model_id
from sand_dagster.jobs.run import pending_stages
from tests.artifacts.rows import row


def test_a_base_model_whose_files_have_changed_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").write_text("weights")
    experiment = load_experiment("household", tmp_path)
    store = ArtifactStore(tmp_path, experiment.name)
    (stage,) = (each for each in stages_of(experiment) if each.name == "base_model")
    config = stage.config(experiment)
    with store.writing("base_model", None, inputs={}, config=config, seed=0, run_id="run") as writer:
        recorded = row("base_model", "m", folder=str(model), model_id=model_id(model))
        manifest = writer.commit([recorded], {})
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                [experiment.name, "base_model"], tags={"dagster/data_version": manifest.content_hash}
            )
        )
        assert "base_model" not in pending_stages(experiment, store, instance, "00")
        (model / "model.safetensors").write_text("others")
        assert "base_model" in pending_stages(experiment, store, instance, "00")
        (model / "model.safetensors").unlink()
        model.rmdir()
        assert "base_model" in pending_stages(experiment, store, instance, "00")
