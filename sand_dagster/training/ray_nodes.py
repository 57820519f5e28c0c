"""A finetuning on nodes of a Ray cluster: `… ray_nodes JOB.json NODES ON_EACH PLACEMENT GPUS`.

This is the driver of a Ray job (`resources/remote_training.py`). It asks Ray for the nodes, and starts
torchrun on each of them.
"""

from __future__ import annotations

import socket
import sys
from typing import cast

import ray
from ray.util import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from sand_dagster.training.launching import Processes, TrainingFailed, run_to_its_end
from sand_dagster.training.memory import Placement

_WAIT_S = 30.0


def _meeting_point() -> tuple[str, int]:
    """The address of this node, and a port that is free there."""
    with socket.socket() as free:
        free.bind(("", 0))
        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return host, free.getsockname()[1]


def _train(command: list[str]) -> None:
    """Run torchrun on this node.

    Raises:
        TrainingFailed: it failed; with the end of its log.
    """
    try:
        run_to_its_end(command, lambda line: print(line, end="", flush=True))
    except TrainingFailed as error:
        raise TrainingFailed(f"on {socket.gethostname()}: {error}") from None


def train(job: str, processes: Processes, gpus: bool) -> None:
    """Run `processes` on the nodes of the Ray cluster that this process belongs to.

    Raises:
        TrainingFailed: a node failed; then the other nodes are stopped.
    """
    on_each = processes.on_each
    share = {"CPU": float(on_each)} | ({"GPU": float(on_each)} if gpus else {})
    group = placement_group([share] * processes.nodes, strategy="STRICT_SPREAD")
    while not group.wait(_WAIT_S):
        print(f"Waiting for {processes.nodes} nodes of the Ray cluster with {share} each", flush=True)

    def on(node: int) -> dict[str, object]:
        placed = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=node)
        number = {"num_cpus": on_each, "num_gpus": on_each if gpus else 0, "max_retries": 0}
        return {**number, "scheduling_strategy": placed}

    host, port = ray.get(ray.remote(_meeting_point).options(**on(0)).remote())
    running = []
    for node in range(processes.nodes):
        rendezvous = (
            f"--nnodes={processes.nodes}",
            f"--node_rank={node}",
            f"--master_addr={host}",
            f"--master_port={port}",
        )
        command = [*processes.command(sys.executable, *rendezvous), job]
        running.append(ray.remote(_train).options(**on(node)).remote(command))
    while running:
        done, running = ray.wait(running)
        ray.get(done)


def main() -> None:
    """Read the arguments, and train."""
    job, nodes, on_each, placement, gpus = sys.argv[1:]
    ray.init(address="auto")
    train(job, Processes(int(nodes), int(on_each), cast("Placement", placement)), gpus == "1")


if __name__ == "__main__":
    main()
