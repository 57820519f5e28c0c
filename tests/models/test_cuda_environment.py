"""The environment variables for CUDA and vLLM are set before our code asks torch for a GPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, torch

NAMES = ("PYTORCH_NVML_BASED_CUDA_CHECK", "VLLM_WORKER_MULTIPROC_METHOD")

def asked(*_):
    print("asked with", *(os.environ.get(name) for name in NAMES))
    raise SystemExit

torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = asked
{ask}
print("not asked")
"""

ASKING = {
    "an engine": "from sand_dagster.models.vllm_engine import on_cpu; on_cpu()",
    "a training": "from sand_dagster.training.precision import bfloat16_is_fast; bfloat16_is_fast()",
}


@pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING.keys())
def test_they_are_set_before_torch_is_asked(ask: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTORCH_NVML", "VLLM_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(ask=ask)],
        env=environment | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "asked with 1 spawn", done.stdout + done.stderr


def test_what_a_person_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    said = subprocess.run(
        [sys.executable, "-c", "import os, sand_dagster; print(os.environ['VLLM_WORKER_MULTIPROC_METHOD'])"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "fork"
