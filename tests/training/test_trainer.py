"""The trainer's own process: progress, failure, interruption."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from sand_dagster.fingerprints import file_digest
from sand_dagster.models.model_folder import model_id
from sand_dagster.training.job import Progress
from sand_dagster.training.launching import TrainingFailed
from sand_dagster.training.plots import loss_curve
from sand_dagster.training.settings import FinetuningSettings
from sand_dagster.training.trainer import SftTrainer
from tests.training.tiny_model import tiny_chat

SETTINGS = FinetuningSettings(batch_size=4, per_device_batch_size=4, learning_rate=1e-3, max_length=256)
CHATS = [tiny_chat(number) for number in range(12)]


class Stopped(BaseException):
    """Like the error that Dagster raises in a terminated step, this is not an Exception."""


def test_a_training_reports_its_progress_and_replaces_the_folder(tiny_model: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    output = tmp_path / "model"
    output.mkdir()
    (output / "stale").touch()
    report = SftTrainer(SETTINGS, seen.append).finetune(CHATS, tiny_model, output, seed=1, epochs=1)
    assert [point.model_dump() for point in seen] == report["loss_curve"]
    assert [(point.step, point.steps) for point in seen] == [(1, 3), (2, 3), (3, 3)]
    assert all(point.tokens_per_second > 0 for point in seen)
    assert report["model_id"] == model_id(output) != model_id(tiny_model)
    files = report["files"]
    assert isinstance(files, dict)
    assert "stale" not in files
    assert files == {p.name: file_digest(p) for p in output.iterdir() if p.name != "training.json"}
    assert json.loads((output / "training.json").read_text())["files"] == files
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "the work folder is gone"
    assert loss_curve(seen).startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_stopped_training_leaves_nothing_and_no_process(tiny_model: Path, tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        SftTrainer(SETTINGS, stop).finetune(CHATS, tiny_model, tmp_path / "model", seed=1, epochs=50)
    assert list(tmp_path.iterdir()) == []
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running


def test_a_failed_training_shows_its_log_and_keeps_the_old_folder(tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    output.mkdir()
    too_long = SETTINGS.model_copy(update={"max_length": 1024})
    with pytest.raises(
        TrainingFailed, match=r"exit 1[\s\S]*max_length is 1024 tokens, but .* was made for 512"
    ):
        SftTrainer(too_long).finetune(CHATS, tiny_model, output, seed=1, epochs=1)
    assert list(tmp_path.iterdir()) == [output]
