"""A finetuning that runs elsewhere, through the asset `checkpoints`: real Ray, real TRL, two processes.

Kubernetes is an API server of ours, whose pods are processes; its client is the real one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.resources.training import Training
from sand_dagster.rows.models import CheckpointRow
from sand_dagster.training import lease
from tests.assets.pipeline import ITERATION, Pipeline
from tests.processes import free_port
from tests.resources.pods import kubernetes
from tests.training.tiny_model import write_tiny_model

SETTINGS = "finetuning: {batch_size: 2, per_device_batch_size: 1, epochs: [3], dtype: float32}"
BEFORE = ITERATION[: ITERATION.index("checkpoints")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The dashboard's URL of a Ray cluster of two nodes with one core each, on this machine."""
    # Ray reads these at its import. On two busy cores its dashboard takes longer than it may otherwise.
    # The variable for clusters keeps it on loopback.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_DASHBOARD_STARTUP_TIMEOUT_S"] = "300"
    os.environ["RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT"] = "240"
    from ray.cluster_utils import Cluster

    port = free_port()
    # Any port for the agent that takes jobs: its usual one belongs to the first cluster on this machine.
    node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "dashboard_agent_listen_port": 0}
    dashboard = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    cluster = Cluster(initialize_head=True, head_node_args={**node, **dashboard})
    try:
        cluster.add_node(**node)
        yield f"http://127.0.0.1:{port}"
    finally:
        cluster.shutdown()


def checkpoint(folder: Path, training: Training) -> tuple[CheckpointRow, list[str]]:
    """The row of a finetuning of iteration 00, and the lines that the stage logged."""
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        pipeline = Pipeline(folder / "home", instance)
        write_tiny_model(pipeline.home / "base", context=4096)
        pipeline.configure(SETTINGS)
        pipeline.materialise()
        pipeline.materialise(*BEFORE, iteration="00")
        pipeline.materialise("checkpoints", iteration="00", training=training)
        (run,) = instance.get_run_records(limit=1)
        log = [entry.user_message for entry in instance.all_logs(run.dagster_run.run_id)]
        (row,) = rows_of(pipeline.store, CheckpointRow, "00")
        return row, log


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_nodes_of_ray_give_the_rows_of_two_processes_here(cluster: str, tmp_path: Path) -> None:
    here, _ = checkpoint(tmp_path / "here", Training(training_processes=2))
    nodes = Training(training_on="ray", training_nodes=2, training_ray_address=cluster)
    there, log = checkpoint(tmp_path / "there", nodes)
    assert there.model_id == here.model_id
    assert [point.loss for point in there.loss_curve] == [point.loss for point in here.loss_curve]
    assert any("Ray job" in line for line in log)
    assert not list((tmp_path / "there").rglob("messages")), "the work folder is gone"


@pytest.mark.slow
def test_a_job_of_ray_that_fails_says_why(cluster: str, tmp_path: Path) -> None:
    broken = Training(training_on="ray", training_ray_address=cluster, training_python="/no/python")
    with pytest.raises(dg.Failure, match="the finetuning's job failed") as failed:
        checkpoint(tmp_path, broken)
    assert "/no/python" in str(failed.value.description)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_pod_gives_the_row_of_a_process_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, _ = checkpoint(tmp_path / "here", Training())
    spec = tmp_path / "pod.yaml"
    spec.write_text("containers: [{name: train, image: sand}]\nnodeSelector: {gpu: 'yes'}\n")
    with kubernetes(tmp_path) as (server, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        there, _ = checkpoint(tmp_path / "there", Training(training_on="kubernetes", training_pod=str(spec)))
        (pod,) = server.specs
        assert pod["nodeSelector"] == {"gpu": "yes"} and pod["restartPolicy"] == "Never"
        assert server.deleted == list(server.running)
    assert there.model_id == here.model_id
    assert [point.loss for point in there.loss_curve] == [point.loss for point in here.loss_curve]


def test_a_pod_that_fails_says_why_and_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "pod.yaml"
    spec.write_text("containers: [{name: train, image: sand}]\n")
    with kubernetes(tmp_path) as (server, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        false = Training(training_on="kubernetes", training_pod=str(spec), training_python="/bin/false")
        with pytest.raises(dg.Failure, match="the finetuning's job failed"):
            checkpoint(tmp_path, false)
        assert server.deleted == list(server.running)


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"training_on": "kubernetes"}, "SAND_TRAINING_POD names no YAML file"),
        ({"training_on": "kubernetes", "training_pod": "/absent.yaml"}, "/absent.yaml"),
        ({"training_on": "kubernetes", "training_nodes": 2, "training_pod": "x"}, "is one pod"),
        ({"training_nodes": 2}, "this machine is one node"),
        ({"training_on": "ray", "training_ray_address": "http://127.0.0.1:9"}, "the finetuning's job failed"),
        ({"training_on": "ray", "training_gpu_gib": 0.5}, "does not fit"),
    ],
)
def test_what_cannot_be_started_is_told_in_one_message(
    tmp_path: Path, training: dict[str, object], expected: str
) -> None:
    with pytest.raises(dg.Failure, match=expected):
        checkpoint(tmp_path, Training.model_validate(training))


@pytest.mark.parametrize(("extra", "library"), [("ray", "dagster_ray.core.pipes"), ("k8s", "dagster_k8s")])
def test_an_extra_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # its import fails
    (tmp_path / "pod.yaml").write_text("containers: [{name: train, image: sand}]\n")
    training = Training(
        training_on="ray" if extra == "ray" else "kubernetes", training_pod=str(tmp_path / "pod.yaml")
    )
    with pytest.raises(dg.Failure, match=rf"pip install 'sand-dagster\[{extra}\]'"):
        checkpoint(tmp_path, training)


def test_a_training_ends_when_its_run_does_not_hold_the_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run took it; nobody touches it; the folder is gone."""

    class Ended(BaseException): ...

    def end(code: int) -> None:
        raise Ended

    monkeypatch.setattr("os._exit", end)
    monkeypatch.setattr(lease, "LOST_S", 0.2)
    monkeypatch.setattr(lease, "_LOOK_S", 0.05)
    path = tmp_path / "lease"
    path.write_text("another")
    with pytest.raises(Ended):
        lease._watch(path, "ours")
    path.write_text("ours")
    since = time.monotonic()
    with pytest.raises(Ended):
        lease._watch(path, "ours")
    assert time.monotonic() - since > 0.2
    path.unlink()
    with pytest.raises(Ended):
        lease._watch(path, "ours")


def test_the_lease_is_touched_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_TOUCH_S", 0.02)
    with lease.held(tmp_path / "job.json") as name:
        path = tmp_path / "lease"
        assert path.read_text() == name
        first = path.stat().st_mtime_ns
        deadline = time.monotonic() + 10
        while path.stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not path.exists()
