"""An iteration starts only if the one before is up to date and its checks pass."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from sand_dagster.artifacts.verify import verify
from sand_dagster.jobs import checks
from sand_dagster.jobs.gate import refuse_to_start
from tests.assets.pipeline import Pipeline, finished


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with finished(tmp_path_factory.mktemp("finished")) as pipeline:
        yield pipeline


@pytest.fixture
def pipeline(made: Pipeline, tmp_path: Path) -> Pipeline:
    """A copy to change."""
    shutil.copytree(made.home, tmp_path / "home")
    return Pipeline(tmp_path / "home", made.instance)


def _refused(pipeline: Pipeline, iteration: str) -> str:
    with pytest.raises(dg.Failure) as refused:
        refuse_to_start(pipeline.experiment, pipeline.store, pipeline.instance, iteration)
    return str(refused.value.description)


def test_on_a_complete_one_it_starts(pipeline: Pipeline) -> None:
    refuse_to_start(pipeline.experiment, pipeline.store, pipeline.instance, "02")


def test_on_one_that_is_not_made_it_does_not(pipeline: Pipeline) -> None:
    shutil.rmtree(pipeline.store.folder("eval_scores", "01"))
    said = _refused(pipeline, "02")
    assert "iteration 02 of small does not start" in said
    assert "eval_scores 01: not made yet" in said
    assert "Run partition 01 of the job small first, or `sand run small --until 02`" in said


def test_on_a_stale_one_it_does_not_and_the_first_reason_is_named(pipeline: Pipeline) -> None:
    pipeline.configure("sampling: {n: 3}\n")
    assert "candidate_actions 00: config: sampling.n 2 → 3" in _refused(pipeline, "01")


def test_on_a_truncated_checkpoint_it_does_not_and_the_asset_is_named(pipeline: Pipeline) -> None:
    weights = pipeline.store.folder("checkpoints", "01") / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1])
    assert "checkpoints 01: damaged" in _refused(pipeline, "02")


@pytest.mark.parametrize("name", ["manifest.json", "data.parquet"])
def test_damage_in_the_iteration_that_is_made_again_does_not_stop_it(pipeline: Pipeline, name: str) -> None:
    file = pipeline.store.folder("expert_trajectories", "01") / name
    file.write_bytes(file.read_bytes()[:-20])
    refuse_to_start(pipeline.experiment, pipeline.store, pipeline.instance, "01")


def test_on_one_that_breaks_an_invariant_it_does_not(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> list[str]:
        """Never."""
        return ["it does not hold"]

    monkeypatch.setitem(checks._CHECKS, "eval_scores", [never])
    assert "eval_scores.never: it does not hold" in _refused(pipeline, "02")


def test_a_base_model_that_is_served_elsewhere_breaks_no_invariant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Critiques name the model that a server said it is, of which there is no file and no row."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(tmp_path / "home", instance)
        pipeline.configure("generation: {base: {url: http://127.0.0.1:9/v1, model: elsewhere}}\n")
        for iteration in (None, "00", "01"):
            pipeline.materialise(iteration=iteration)
        assert set(pipeline.store.read("critiques", "01")["model_id"]) == {"elsewhere"}
        assert checks.broken_invariants(pipeline.experiment, pipeline.store, "01") == []
        assert verify(pipeline.store).damages == []
        refuse_to_start(pipeline.experiment, pipeline.store, instance, "02")
