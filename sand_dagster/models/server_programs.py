"""The commands of model servers on this machine: vLLM's own, or Ray Serve's LLM application."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import NamedTuple

from sand_dagster.models.cards import cards
from sand_dagster.models.model_folder import context_length
from sand_dagster.models.settings import GenerationSettings

MODULE = "vllm.entrypoints.openai.api_server"
"""What `vllm serve` runs. The command itself does not start with the CPU build's distribution."""
RAY_SCRIPT = Path(__file__).with_name("ray_serving.py")
_EVERYWHERE = {
    "HF_HUB_OFFLINE": "1",  # the model is a folder
    "VLLM_NO_USAGE_STATS": "1",
    # The environments' workers and other servers need the cores too.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
_OF_VLLM = _EVERYWHERE | {"VLLM_WORKER_MULTIPROC_METHOD": "spawn", "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
_OF_RAY = _EVERYWHERE | {
    "PYTHONPATH": "",  # ours would hide the packages of its environment
    "RAY_USAGE_STATS_ENABLED": "0",
}
_GPU_PREFILL_TOKENS = 8192
"""Of one step. On many cards vLLM's server has 2,048, so that users get a first token soon."""


class ServerProgram(NamedTuple):
    """A server's command, apart from the port, and what it finds in its environment in addition.

    It listens on loopback. At the path `health` it answers with status 200 when it can complete prompts.
    """

    command: list[str]
    environment: dict[str, str]
    health: str = "/health"


def vllm_servers(
    folder: Path, name: str, settings: GenerationSettings, copies: int = 0
) -> list[ServerProgram]:
    """Serve the model in `folder` as `name`: one server for each group of GPUs, or `copies` on a CPU.

    Raises:
        DoesNotFit: the model does not fit on the GPUs.
    """
    from sand_dagster.models import vllm_engine

    context = settings.max_model_len or context_length(folder)
    arguments = vllm_engine.engine_arguments(folder, context, settings)
    variables: list[dict[str, str]]
    if vllm_engine.on_cpu():
        copies = copies or 1
        arguments["kv_cache_memory_bytes"] //= copies
        cores = len(os.sched_getaffinity(0))
        variables = [{"OMP_NUM_THREADS": str(max(1, cores // copies))}] * copies
    else:
        found = cards()
        spread = vllm_engine.spread_over(found, folder, context, settings)
        arguments["tensor_parallel_size"] = size = spread.tensor_parallel_size
        arguments["max_num_batched_tokens"] = _GPU_PREFILL_TOKENS
        groups = [found[first : first + size] for first in range(0, spread.cards, size)]
        variables = [{"CUDA_VISIBLE_DEVICES": ",".join(card.uuid for card in group)} for group in groups]
    command = [sys.executable, "-m", MODULE, "--served-model-name", name, "--host", "127.0.0.1"]
    command += ["--disable-uvicorn-access-log", "--enable-prompt-tokens-details"]
    for argument, value in arguments.items():
        command += _flag(argument, value)
    return [ServerProgram(command, _OF_VLLM | each) for each in variables]


def ray_application(
    python: str, version: str, folder: Path, name: str, settings: GenerationSettings, copies: int = 0
) -> ServerProgram:
    """Serve the model in `folder` as `name` by Ray Serve, with `copies`; 0: as many as fit on this machine.

    Args:
        python: the Python of an environment with Ray Serve, and vLLM of this `version`.

    Raises:
        DoesNotFit: the model does not fit on the GPUs.
    """
    from sand_dagster.models import vllm_engine

    context = settings.max_model_len or context_length(folder)
    engine = vllm_engine.engine_arguments(folder, context, settings)
    model = engine.pop("model")
    if cpu := vllm_engine.on_cpu():
        copies = copies or 1
    else:
        spread = vllm_engine.spread_over(cards(), folder, context, settings)
        copies = copies or spread.data_parallel_size
        engine["tensor_parallel_size"] = spread.tensor_parallel_size
        engine["max_num_batched_tokens"] = _GPU_PREFILL_TOKENS
    command = [python, "-I", str(RAY_SCRIPT), "--model", model, "--served-model-name", name]
    command += ["--copies", str(copies), "--on", "cpu" if cpu else "gpu"]
    command += ["--engine", json.dumps(engine), "--vllm", version]
    # Ray's own path for health says that its proxy runs; the models are listed when there is a copy.
    return ServerProgram(command, _OF_RAY, health="/v1/models")


def _flag(argument: str, value: object) -> list[str]:
    """An argument of vLLM's engine as one of the server's command."""
    flag = argument.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", str(value)]
