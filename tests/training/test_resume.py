"""A killed training continues from its saved state, and ends with the same weights."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sand_dagster.models.model_folder import model_id
from sand_dagster.training.job import Progress, Report
from sand_dagster.training.launching import ThisMachine, TrainingFailed
from sand_dagster.training.saving import last_saved
from sand_dagster.training.settings import FinetuningSettings, LoraSettings
from sand_dagster.training.trainer import DpoTrainer, SftTrainer
from tests.training.tiny_model import tiny_chat

CHATS = [tiny_chat(number, turns=1 + number % 3) for number in range(14)]
FULL = FinetuningSettings(batch_size=4, per_device_batch_size=2, learning_rate=1e-3, max_length=256)
LORA = FULL.model_copy(update={"method": "lora", "lora": LoraSettings(rank=4, dropout=0.1)})
EPOCHS = 6
"""Trainings of four steps each: the process is killed at one of the first steps."""


def _kill_trainer() -> None:
    """SIGKILL to the training process that this one started."""
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text().split():
            if b"training.sft" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)


def train(
    parent: Path, output: Path, settings: FinetuningSettings, processes: int = 1, *, kill_at: int = 0
) -> list[int]:
    """The finished steps of a training on `processes` processes, sharded where they are several."""
    steps: list[int] = []

    def seen(point: Progress) -> None:
        steps.append(point.step)
        if point.step == kill_at:
            _kill_trainer()

    launcher = ThisMachine(processes)
    trainer = SftTrainer(settings, seen, key="the same", save_every_s=0.0, launcher=launcher)
    trainer.finetune(CHATS, parent, output, seed=3, epochs=EPOCHS)
    return steps


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("settings", "processes"),
    [
        pytest.param(FULL, 1, id="full"),
        pytest.param(LORA, 1, id="lora", marks=pytest.mark.slow),
        pytest.param(FULL, 2, id="sharded", marks=pytest.mark.slow),
    ],
)
def test_the_resumed_training_ends_with_the_same_weights(
    tiny_model: Path, tmp_path: Path, settings: FinetuningSettings, processes: int
) -> None:
    SftTrainer(settings, save_every_s=600, launcher=ThisMachine(processes)).finetune(
        CHATS, tiny_model, tmp_path / "undisturbed", seed=3, epochs=EPOCHS
    )
    folder = tmp_path / "home"
    folder.mkdir()
    with pytest.raises(TrainingFailed, match="signal 9"):
        train(tiny_model, folder / "model", settings, processes, kill_at=3)
    saved = last_saved(folder / ".model.training" / "state")
    assert saved is not None
    step = int(saved.name.rpartition("-")[2])
    assert 1 <= step < 4 * EPOCHS
    resumed = train(tiny_model, folder / "model", settings, processes)
    assert resumed == list(range(step + 1, 4 * EPOCHS + 1)), "resumed, not started again"
    assert model_id(folder / "model") == model_id(tmp_path / "undisturbed")
    assert [path.name for path in folder.iterdir()] == ["model"], "the saved states are gone"
    one, other = (
        Report.model_validate_json((path / "training.json").read_text())
        for path in (folder / "model", tmp_path / "undisturbed")
    )
    ours, theirs = ([(point.step, point.loss) for point in report.loss_curve] for report in (one, other))
    assert ours == theirs, "the loss curve is complete"


@pytest.mark.slow
def test_a_resumed_dpo_ends_with_the_same_weights_too(tiny_model: Path, tmp_path: Path) -> None:
    """Its reference is the model at the start, also where the weights come from a saved state."""
    rejected = [tiny_chat(100 + number, turns=2) for number in range(len(CHATS))]
    (tmp_path / "home").mkdir()

    def prefer(name: str, kill_at: int = 0) -> list[int]:
        steps: list[int] = []

        def seen(point: Progress) -> None:
            steps.append(point.step)
            if point.step == kill_at:
                _kill_trainer()

        trainer = DpoTrainer(FULL, 0.1, seen, key="the same", save_every_s=0.0)
        trainer.prefer(CHATS, rejected, tiny_model, tmp_path / name, seed=3, epochs=EPOCHS)
        return steps

    prefer("undisturbed")
    with pytest.raises(TrainingFailed, match="signal 9"):
        prefer("home/model", kill_at=3)
    assert prefer("home/model")[0] > 1, "resumed, not started again"
    assert model_id(tmp_path / "home/model") == model_id(tmp_path / "undisturbed")


def test_what_another_training_saved_is_not_gone_on_from(tiny_model: Path, tmp_path: Path) -> None:
    left = tmp_path / ".model.training"
    (left / "state" / "checkpoint-3").mkdir(parents=True)
    (left / "key").write_text("another")
    steps: list[Progress] = []
    SftTrainer(FULL, steps.append).finetune(CHATS, tiny_model, tmp_path / "model", seed=3, epochs=1)
    assert [point.step for point in steps] == [1, 2, 3, 4]
    assert not left.exists()


def test_a_state_that_was_not_saved_whole_is_passed_over(tmp_path: Path) -> None:
    for step, record in ((2, '{"global_step": 2}'), (10, '{"global_st'), (12, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if record is not None:
            (folder / "trainer_state.json").write_text(record)
    assert last_saved(tmp_path) == tmp_path / "checkpoint-2"
    assert last_saved(tmp_path / "absent") is None
