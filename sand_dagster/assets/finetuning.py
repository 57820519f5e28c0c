"""One finetuning of a stage's run, taken from the journal where the same one was done before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sand_dagster.assets.run import StageRun
from sand_dagster.models.model_folder import model_id
from sand_dagster.rows.steps import DeliberationRow
from sand_dagster.sand.checkpoints import finetuning_seed
from sand_dagster.sand.trajectories import demonstrations_of
from sand_dagster.training.job import Progress, Report


def finetune(
    run: StageRun, steps: Sequence[DeliberationRow], parent_model_id: str, parent: Path, epochs: int
) -> Report | None:
    """What finetuning the model in `parent` on `steps` gave; its files are in `model_folder(run)`.

    None in a trial, which counts the one finetuning and makes none.
    """
    key = run.stage.key(
        parent_model_id,
        [[step.instruction, step.thought, step.action, step.observation] for step in steps],
        epochs,
    )
    report = _journalled(run, key)
    if run.trial is not None:
        run.trial.total, run.trial.journalled = 1, int(report is not None)
        return None
    # Whatever happens now, the checkpoint is not complete before it is committed.
    output = model_folder(run)
    if report is not None:
        return report
    run.generation.release()
    domain = run.experiment.environment.module.DOMAIN
    report = run.training.finetune(
        run.experiment,
        [trajectory.conversation(domain) for trajectory in demonstrations_of(steps)],
        parent=parent,
        output=output,
        seed=finetuning_seed(run.experiment.seed, str(run.iteration)),
        epochs=epochs,
        on_progress=lambda progress: _follow(run, progress),
    )
    run.journal.put(key, report.model_dump(mode="json"))
    return report


def model_folder(run: StageRun) -> Path:
    """Where the checkpoint's model is written. The partition is not complete until its next commit."""
    assert run.writer is not None, "a trial writes no model"
    return run.writer.folder / "model"


def _follow(run: StageRun, progress: Progress) -> None:
    run.progress.note = f"loss {progress.loss:.3f}, {progress.tokens_per_second:.0f} tokens/s"
    run.progress.counted(progress.step, progress.steps)
    run.report()


def _journalled(run: StageRun, key: str) -> Report | None:
    """The report of the same finetuning, where its model still lies there whole."""
    kept, output = run.journal.get(key), run.folder / "model"
    if kept is None or not (output / "config.json").exists():
        return None
    report = Report.model_validate(kept)
    return report if model_id(output) == report.model_id else None
