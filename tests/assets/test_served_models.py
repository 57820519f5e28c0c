"""An experiment with models on two servers, each checkpoint under its own id."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sand_dagster.assets import stages_of
from sand_dagster.experiments.experiment import Endpoint, Experiment
from sand_dagster.experiments.loading import ExperimentError
from sand_dagster.models import server_programs
from sand_dagster.models.settings import Checkpoint
from sand_dagster.resources.generation import Generation
from sand_dagster.resources.model_server import LOGS, ModelServer
from tests.assets.pipeline import Pipeline
from tests.models.serving import Server
from tests.models.test_endpoints import free_port
from tests.training.tiny_model import write_tiny_model

ENDPOINTS = """\
generation:
  base: {{url: [{urls}], model: base, key_variable: SERVED_KEY}}
  policy: {{url: [{urls}], model: "small-{{iteration}}-{{checkpoint}}", key_variable: SERVED_KEY}}
sampling: {{n: 4}}
"""


def run(home: Path, servers: list[Server], instance: dg.DagsterInstance, on_stage: Any = None) -> Pipeline:
    """Iterations 00 and 01 of the small experiment with real generation over `servers`."""
    pipeline = Pipeline(home, instance)
    pipeline.configure(ENDPOINTS.format(urls=", ".join(each.url for each in servers)))
    return made(pipeline, Generation(), on_stage)


def made(pipeline: Pipeline, generation: Generation, on_stage: Any = None) -> Pipeline:
    """Iterations 00 and 01; `on_stage` is called before each stage."""
    for iteration in (None, "00", "01"):
        for definition in stages_of(pipeline.experiment):
            if definition.partitioned != (iteration is not None):
                continue
            if on_stage:
                on_stage(definition.name, iteration)
            pipeline.materialise(definition.name, iteration=iteration, generation=generation)
    return pipeline


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Server]]:
    monkeypatch.setenv("SERVED_KEY", "none")
    started = [Server(free_port(), "base", "small-*") for _ in range(2)]
    yield started
    for each in started:
        each.kill()


TABLES = ("candidate_actions", "rollouts", "critiques", "deliberation_trajectories", "eval_episodes")


def hashes(pipeline: Pipeline) -> dict[str, str]:
    return {table: pipeline.store.require(table, "01").content_hash for table in TABLES}


def test_a_server_killed_in_the_middle_of_the_rollouts_changes_no_row(
    servers: list[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # The base model's folder is part of the rows' identity, and both runs have the same content.
    with dg.DagsterInstance.ephemeral() as instance:
        undisturbed = hashes(run(tmp_path / "undisturbed", servers, instance))
    assert all(each.answered() for each in servers)
    caplog.clear()

    def kill(stage: str, iteration: str | None) -> None:
        if (stage, iteration) == ("rollouts", "01"):
            _kill_later(servers[0])

    with dg.DagsterInstance.ephemeral() as instance, caplog.at_level(logging.WARNING):
        assert hashes(run(tmp_path / "disturbed", servers, instance, kill)) == undisturbed
    assert f"{servers[0].url} gets no requests until it answers again" in caplog.text


LOCAL = """\
model: {max_model_len: 16384}
sampling: {n: 4}
"""


@pytest.mark.slow
def test_a_server_of_our_own_killed_in_the_middle_of_the_rollouts_changes_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two local servers behind one experiment, each with a stub in the place of vLLM."""

    def write_model(folder: Path, content: str) -> None:
        write_tiny_model(folder, seed=sum(content.encode()), context=16384)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tests.assets.pipeline.write_model", write_model)
    monkeypatch.setattr(server_programs, "MODULE", "tests.models.vllm_stub")

    def rows(name: str, on_stage: Any = None) -> tuple[Pipeline, dict[str, str]]:
        generation = Generation(server=ModelServer(model_server="local", server_copies=2))
        with dg.DagsterInstance.ephemeral() as instance:
            pipeline = Pipeline(tmp_path / name, instance)
            pipeline.configure(LOCAL)
            try:
                return pipeline, hashes(made(pipeline, generation, on_stage))
            finally:
                generation.release()

    _, undisturbed = rows("undisturbed")
    caplog.clear()

    def kill(stage: str, iteration: str | None) -> None:
        if (stage, iteration) == ("rollouts", "01"):
            threading.Thread(target=_kill_local, args=(tmp_path / "disturbed",), daemon=True).start()

    with caplog.at_level(logging.WARNING):
        pipeline, disturbed = rows("disturbed", kill)
    assert disturbed == undisturbed
    assert pipeline.store.require("rollouts", "01").rows > 0
    assert "ended, and is started again" in caplog.text


def _kill_local(home: Path) -> None:
    """Kill a server of the policy as soon as the rollouts have begun."""
    journal = home / "small" / "rollouts" / "iteration=01" / "journal.jsonl"
    while not journal.exists() or not journal.read_bytes():
        time.sleep(0.002)
    log = max((home / LOGS).glob("*-0.log"), key=lambda log: log.stat().st_mtime)
    os.kill(int(re.findall(r"^server (\d+)", log.read_text(), re.MULTILINE)[-1]), signal.SIGKILL)


def _kill_later(server: Server) -> None:
    """Kill it as soon as it has answered two more requests."""
    before = server.answered()

    def wait() -> None:
        while server.answered() < before + 2:
            time.sleep(0.005)
        server.kill()

    threading.Thread(target=wait, daemon=True).start()


def test_each_checkpoint_has_its_own_name(pipeline: Pipeline) -> None:
    """π_k is the checkpoint of iteration k-1; the evaluation uses the iteration's own checkpoint."""
    asked: list[tuple[str, Checkpoint | None]] = []
    (before,) = pipeline.store.read("checkpoints", "00").to_dicts()
    (own,) = pipeline.store.read("checkpoints", "01").to_dicts()

    class Recording(Generation):
        def model(self, experiment: Any, endpoint: Any, folder: Path, checkpoint: Checkpoint | None) -> Any:
            asked.append((folder.parent.name, checkpoint))
            raise Asked

    class Asked(Exception): ...

    for stage in ("candidate_actions", "eval_episodes", "critiques"):
        with pytest.raises(dg.Failure, match=r"^Asked: "):
            pipeline.materialise(stage, iteration="01", generation=Recording(), fresh=True)
    assert asked[:2] == [
        ("iteration=00", Checkpoint(before["checkpoint_id"], "00")),
        ("iteration=01", Checkpoint(own["checkpoint_id"], "01")),
    ]
    assert asked[2][1] is None, "the base model is not a checkpoint"
    endpoint = Endpoint(url="http://127.0.0.1:1/v1", model="mine-{iteration}-{checkpoint}")
    assert endpoint.served_name(asked[0][1]) == f"mine-00-{before['checkpoint_id']}"


@pytest.mark.parametrize("name", ["policy", "policy-{iteration}"])
def test_a_name_that_every_checkpoint_would_have_is_refused(pipeline: Pipeline, name: str) -> None:
    pipeline.configure(f'generation: {{policy: {{url: "http://127.0.0.1:1/v1", model: "{name}"}}}}')
    with pytest.raises(ExperimentError, match=r"generation: policy.model is 'policy.*\{checkpoint\}"):
        _ = pipeline.experiment


def test_urls_are_one_or_several_different_ones(pipeline: Pipeline) -> None:
    pipeline.configure('generation: {base: {url: ["http://a/v1", "http://a/v1"], model: base}}')
    with pytest.raises(ExperimentError, match=r"generation.base.url: needs a URL, or a list of different"):
        _ = pipeline.experiment


def test_one_url_reads_as_before(pipeline: Pipeline) -> None:
    pipeline.configure('generation: {base: {url: "http://a/v1", model: base}}')
    experiment: Experiment = pipeline.experiment
    assert experiment.generation.base is not None
    assert experiment.generation.base.urls == ("http://a/v1",)


def test_a_server_that_refuses_sampling_fields_is_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SERVED_KEY", "none")
    server = Server(free_port(), "standard-base", "small-*")
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            pipeline = Pipeline(tmp_path / "home", instance)
            pipeline.configure(
                ENDPOINTS.format(urls=server.url).replace("model: base", "model: standard-base")
            )
            made(pipeline, Generation())

            def shown(stage: str) -> dict[str, Any]:
                event = instance.get_latest_materialization_event(dg.AssetKey([pipeline.name, stage]))
                assert event is not None and event.asset_materialization is not None
                return {name: value.value for name, value in event.asset_materialization.metadata.items()}

            neutral = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
            for stage, refuses in (("candidate_actions", False), ("critiques", True), ("policy", None)):
                assert (shown(stage).get("sampling", {}).items() >= neutral.items()) is (refuses is not None)
                assert ("sampling_refused" in shown(stage)) is bool(refuses)
                counts = pipeline.store.require(stage, "01").counts
                assert ("standard_sampling_only" in counts) is bool(refuses)
            said = shown("critiques")
            assert said["standard_sampling_only"] >= pipeline.store.require("critiques", "01").rows > 0
            assert "without top_k, min_p, repetition_penalty" in said["sampling_refused"]
    finally:
        server.kill()
