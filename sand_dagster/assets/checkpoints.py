"""Deliberation finetuning."""

from __future__ import annotations

import json
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
from sand_dagster.rows.explorations import ExplorationRow
from sand_dagster.rows.models import (
    BaseModelRow,
    CheckpointRow,
    LossPoint,
    ModelFile,
    PolicyRow,
)
from sand_dagster.rows.steps import DeliberationRow
from sand_dagster.sand.checkpoints import checkpoint_id, control_epochs, finetuning_seed
from sand_dagster.sand.explorations import experts_and_wins, preferences
from sand_dagster.sand.training_data import TrainingData
from sand_dagster.training.job import Report
from sand_dagster.training.plots import loss_curve
from sand_dagster.training.trainer import write_report


def _is_control(experiment: Experiment) -> bool:
    return experiment.control_for is not None


def _explores(experiment: Experiment) -> bool:
    return experiment.explores


@stage(
    reads=(
        "deliberation_trajectories",
        Read("expert_trajectories", when=_explores),
        "explorations",
        "policy",
        Read("base_model", when=lambda experiment: experiment.finetuning.restart_from == "base"),
        Read("checkpoints", Where.PREVIOUS, when=_is_control),
        Read("checkpoints", Where.CONTROL_FOR, when=_is_control),
    ),
    settings=lambda experiment: (
        "finetuning",
        *(("eto",) if experiment.variant == "eto" else ()),
        "environment.kind",
        "variant",
        "seed",
    ),
    modules=lambda experiment: (
        "sand_dagster.training.sft",
        "sand_dagster.sand.checkpoints",
        "sand_dagster.sand.explorations",
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

    With variant rft D_delib is the experts' trajectories and the won explorations. With variant eto it is DPO
    from 01 on: of the expert's trajectory and the policy's own the better is preferred, and π_k, which is
    finetuned, is the reference.

    A control makes as many passes over the expert trajectories as give it at least the agent's tokens on
    which the experiment that it is a control for was finetuned in the same iteration.
    """
    data = _data(run)
    settings = run.experiment.finetuning
    (policy,) = run.rows(PolicyRow)
    parent = run.rows(BaseModelRow)[0] if settings.restart_from == "base" else policy
    epochs = _epochs(run, data)
    report = _finetune(run, data, parent, epochs)
    if report is None:
        return Result([])
    batch, rate, what = _optimiser(run.experiment, data)
    if report.batch_size != batch:
        run.log.warning(
            f"Each optimiser step was over {report.batch_size} {what} {batch}, which {report.devices} "
            "devices cannot make up."
        )
    row = _row(run, policy, parent.model_id, data, epochs, report)
    counts: dict[str, int | float] = {
        "epochs": report.epochs,
        "examples": report.examples,
        "dropped": len(report.dropped),
        "truncated": len(report.truncated),
        "tokens": report.tokens,
        "trained_tokens": report.trained_tokens,
        "seconds": report.seconds,
        "tokens_per_second": report.tokens / report.seconds,
        "learning_rate": rate,
        "devices": report.devices,
        "batch_size": report.batch_size,
    }
    if run.training.training_gpu_gib:  # on other machines' GPUs, not on all of this one
        counts["gpus"] = report.devices
    if not row.loss_curve:  # no epoch: the model is as it was
        return Result([row], counts)
    counts |= {"first_loss": row.loss_curve[0].loss, "last_loss": row.loss_curve[-1].loss}
    curve = picture(loss_curve(report.loss_curve), "loss curve")
    return Result([row], counts, {"loss_curve": dg.MetadataValue.md(curve)})


def _data(run: StageRun) -> TrainingData:
    """D_delib; with variant rft the experts' trajectories and the won explorations, with eto the pairs.

    Raises:
        dagster.Failure: with variant eto, no exploration makes a pair.
    """
    if not run.experiment.explores:
        return TrainingData.demonstrations(run.rows(DeliberationRow))
    explored = run.rows(ExplorationRow)
    if run.experiment.variant == "rft" or run.iteration == INITIALISATION:
        return experts_and_wins(run.demonstrations, explored)
    pairs = preferences(run.demonstrations, explored)
    if not pairs.learnt:
        raise dg.Failure(
            f"none of the {len(explored)} explorations of iteration {run.iteration} has another reward than "
            "the expert's trajectory of its task, so DPO has no pair to learn from. Raise explorations.n or "
            f"explorations.temperature, or end with iteration {run.number - 1:02}.",
            allow_retries=False,
        )
    return pairs


def _finetune(
    run: StageRun, data: TrainingData, parent: BaseModelRow | PolicyRow, epochs: int
) -> Report | None:
    """What finetuning the model of `parent` on `data` gave; its files are in `model_folder(run)`.

    None in a trial, which counts the one finetuning and makes none.
    """
    key = run.stage.key(parent.model_id, data.texts, epochs)
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
        [trajectory.conversation(domain) for trajectory in data.learnt],
        rejected=None if data.rejected is None else [each.conversation(domain) for each in data.rejected],
        parent=_parent_folder(run, parent),
        output=output,
        seed=finetuning_seed(run.experiment.seed, str(run.iteration)),
        epochs=epochs,
        key=key,
        on_progress=lambda progress: follow(run, progress),
        context=run.context,
    )
    run.journal.put(key, report.model_dump(mode="json"))
    return report


def _parent_folder(run: StageRun, parent: BaseModelRow | PolicyRow) -> Path:
    if isinstance(parent, BaseModelRow):
        return stored_model(run.store.home, parent, run.experiment.name, None)
    return run.policy_folder(parent)


def _optimiser(experiment: Experiment, data: TrainingData) -> tuple[int, float, str]:
    """Batch size and learning rate, and how a warning names the first."""
    if data.rejected is None:
        settings = experiment.finetuning
        return settings.batch_size, settings.learning_rate, "trajectories, not finetuning.batch_size"
    return experiment.eto.batch_size, experiment.eto.learning_rate, "pairs, not eto.batch_size"


def _epochs(run: StageRun, data: TrainingData) -> int:
    """The iteration's passes over its data."""
    if data.rejected is not None:
        return run.experiment.eto.epochs
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
    data: TrainingData,
    epochs: int,
    report: Report,
) -> CheckpointRow:
    settings, folder, ids = _settings(run.experiment, data), model_folder(run), data.ids
    return CheckpointRow(
        checkpoint_id=checkpoint_id(
            policy.policy_id, parent_model_id, ids, settings, epochs, run.experiment.seed
        ),
        policy_id=policy.policy_id,
        step_ids=ids,
        model_id=report.model_id,
        folder=str(folder.relative_to(run.store.home)),
        settings=settings,
        examples=report.examples,
        dropped=tuple(data.learnt[place].trajectory_id for place in report.dropped),
        truncated=tuple(data.learnt[place].trajectory_id for place in report.truncated),
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


def _settings(experiment: Experiment, data: TrainingData) -> str:
    """The finetuning's settings as JSON: those of `finetuning`, and for DPO those of `eto` below `eto`."""
    if data.rejected is None:
        return experiment.finetuning.model_dump_json()
    both = {**experiment.finetuning.model_dump(mode="json"), "eto": experiment.eto.model_dump(mode="json")}
    return json.dumps(both)
