"""A finetuning around its training: where its model lies, its progress, and whether it is there already."""

from __future__ import annotations

from pathlib import Path

from sand_dagster.assets.run import StageRun
from sand_dagster.assets.stored_model import altered_file
from sand_dagster.models.model_folder import model_id
from sand_dagster.training.job import Progress, Report


def model_folder(run: StageRun) -> Path:
    """Where the checkpoint's model is written. The partition is not complete until its next commit."""
    assert run.writer is not None, "a trial writes no model"
    return run.writer.folder / "model"


def follow(run: StageRun, progress: Progress) -> None:
    """Tell the progress of a training as the stage's."""
    run.progress.note = f"loss {progress.loss:.3f}, {progress.tokens_per_second:.0f} tokens/s"
    run.progress.counted(progress.step, progress.steps)
    run.report()


def journalled(run: StageRun, key: str) -> Report | None:
    """The report of the same finetuning, where its model still lies there whole."""
    kept, output = run.journal.get(key), run.folder / "model"
    if kept is None or not (output / "config.json").exists():
        return None
    report = Report.model_validate(kept)
    whole = model_id(output) == report.model_id and altered_file(output, report.files) is None
    return report if whole else None
