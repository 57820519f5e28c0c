"""Deliberation finetuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.assets.deciding import TRAINING_PACKAGES, agent_prompts, domain_module
from sand_dagster.assets.definition import INITIALISATION, Read, Where, stage
from sand_dagster.assets.finetuning import follow, journalled, model_folder
from sand_dagster.assets.metadata import picture
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.assets.stored_model import stored_model
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.rows.models import (
    BaseModelRow,
    CheckpointRow,
    LossPoint,
    ModelFile,
    PolicyRow,
)
from sand_dagster.rows.steps import DeliberationRow
from sand_dagster.sand.checkpoints import checkpoint_id, control_epochs, finetuning_seed
from sand_dagster.sand.trajectories import demonstrations_of
from sand_dagster.training.job import Report
from sand_dagster.training.plots import loss_curve
from sand_dagster.training.trainer import write_report


def _is_control(experiment: Experiment) -> bool:
    return experiment.control_for is not None


@stage(
    reads=(
        "deliberation_trajectories",
        "policy",
        Read("base_model", when=lambda experiment: experiment.finetuning.restart_from == "base"),
        Read("checkpoints", Where.PREVIOUS, when=_is_control),
        Read("checkpoints", Where.CONTROL_FOR, when=_is_control),
    ),
    settings=("finetuning", "environment.kind", "variant", "seed"),
    modules=lambda experiment: (
        "sand_dagster.training.sft",
        "sand_dagster.sand.checkpoints",
        "sand_dagster.sand.trajectories",
        domain_module(experiment),
    ),
    prompts=agent_prompts,
    packages=TRAINING_PACKAGES,
    kinds=frozenset({"pytorch", "huggingface"}),
    gpu=True,
)
def checkpoints(run: StageRun) -> Result:
    """π_θ finetuned on D_delib, with a loss on the agent's own tokens (Eq. 7; Eq. 2 in iteration 00).

    A control makes as many passes over the expert trajectories as give it at least the agent's tokens on
    which the experiment that it is a control for was finetuned in the same iteration.
    """
    steps = run.rows(DeliberationRow)
    settings = run.experiment.finetuning
    (policy,) = run.rows(PolicyRow)
    parent = run.rows(BaseModelRow)[0] if settings.restart_from == "base" else policy
    epochs = _epochs(run)
    report = _finetune(run, steps, parent, epochs)
    if report is None:
        return Result([])
    if report.batch_size != settings.batch_size:
        run.log.warning(
            f"Each optimiser step was over {report.batch_size} trajectories, not finetuning.batch_size "
            f"{settings.batch_size}, which {report.devices} devices cannot make up."
        )
    row = _row(run, policy, parent.model_id, tuple(step.step_id for step in steps), epochs, report)
    counts: dict[str, int | float] = {
        "epochs": report.epochs,
        "examples": report.examples,
        "dropped": report.dropped,
        "truncated": report.truncated,
        "tokens": report.tokens,
        "trained_tokens": report.trained_tokens,
        "seconds": report.seconds,
        "tokens_per_second": report.tokens / report.seconds,
        "learning_rate": settings.learning_rate,
        "devices": report.devices,
        "batch_size": report.batch_size,
    }
    if not row.loss_curve:  # no epoch: the model is as it was
        return Result([row], counts)
    counts |= {"first_loss": row.loss_curve[0].loss, "last_loss": row.loss_curve[-1].loss}
    curve = picture(loss_curve(report.loss_curve), "loss curve")
    return Result([row], counts, {"loss_curve": dg.MetadataValue.md(curve)})


def _finetune(
    run: StageRun, steps: Sequence[DeliberationRow], parent: BaseModelRow | PolicyRow, epochs: int
) -> Report | None:
    """What finetuning the model of `parent` on `steps` gave; its files are in `model_folder(run)`.

    None in a trial, which counts the one finetuning and makes none.
    """
    key = run.stage.key(
        parent.model_id,
        [[step.instruction, step.thought, step.action, step.observation] for step in steps],
        epochs,
    )
    report = journalled(run, key)
    if run.trial is not None:
        run.trial.total, run.trial.journalled = 1, int(report is not None)
        return None
    # Whatever happens now, the checkpoint is not complete before it is committed.
    output = model_folder(run)
    if report is not None:
        write_report(output, report)
        return report
    run.generation.release()
    domain = run.experiment.environment.module.DOMAIN
    report = run.training.finetune(
        run.experiment,
        [trajectory.conversation(domain) for trajectory in demonstrations_of(steps)],
        parent=_parent_folder(run, parent),
        output=output,
        seed=finetuning_seed(run.experiment.seed, str(run.iteration)),
        epochs=epochs,
        key=key,
        on_progress=lambda progress: follow(run, progress),
    )
    run.journal.put(key, report.model_dump(mode="json"))
    return report


def _parent_folder(run: StageRun, parent: BaseModelRow | PolicyRow) -> Path:
    if isinstance(parent, BaseModelRow):
        return stored_model(run.store.home, parent, run.experiment.name, None)
    return run.policy_folder(parent)


def _epochs(run: StageRun) -> int:
    """The iteration's passes over D_delib."""
    control_for = run.experiment.control_for
    if control_for is None or run.iteration == INITIALISATION:
        return run.experiment.finetuning.epochs_of(run.number)
    (before,) = run.rows(CheckpointRow, f"{run.number - 1:02}")
    (deliberated,) = rows_of(ArtifactStore(run.store.home, control_for), CheckpointRow, run.iteration)
    return control_epochs(deliberated, before)


def _row(
    run: StageRun,
    policy: PolicyRow,
    parent_model_id: str,
    step_ids: tuple[str, ...],
    epochs: int,
    report: Report,
) -> CheckpointRow:
    settings, folder = run.experiment.finetuning.model_dump_json(), model_folder(run)
    return CheckpointRow(
        checkpoint_id=checkpoint_id(
            policy.policy_id, parent_model_id, step_ids, settings, epochs, run.experiment.seed
        ),
        policy_id=policy.policy_id,
        step_ids=step_ids,
        model_id=report.model_id,
        folder=str(folder.relative_to(run.store.home)),
        settings=settings,
        examples=report.examples,
        dropped=report.dropped,
        truncated=report.truncated,
        epochs=report.epochs,
        tokens=report.tokens,
        trained_tokens=report.trained_tokens,
        seconds=report.seconds,
        loss_curve=tuple(
            LossPoint(
                step=point.step,
                epoch=point.epoch,
                loss=point.loss,
                learning_rate=point.learning_rate,
                tokens_per_second=point.tokens_per_second,
            )
            for point in report.loss_curve
        ),
        files=tuple(
            ModelFile(file=name, bytes=(folder / name).stat().st_size, sha256=sha256)
            for name, sha256 in sorted(report.files.items())
        ),
    )
