"""Deliberation finetuning."""

from __future__ import annotations

import math
from pathlib import Path

import dagster as dg

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets.deciding import TRAINING_PACKAGES, agent_prompts, domain_module
from sand_dagster.assets.definition import INITIALISATION, Read, Where, stage
from sand_dagster.assets.metadata import picture
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.assets.stored_model import altered_file, stored_model
from sand_dagster.execution.units import Row
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.models.model_folder import model_id
from sand_dagster.sand.checkpoints import checkpoint_id, finetuning_seed
from sand_dagster.sand.trajectories import demonstrations_of
from sand_dagster.training.job import Progress, Report
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
    steps = run.rows("deliberation_trajectories")
    domain = run.experiment.environment.module.DOMAIN
    settings = run.experiment.finetuning
    (policy,) = run.rows("policy")
    parent = run.rows("base_model")[0] if settings.restart_from == "base" else policy
    step_ids = [row["step_id"] for row in steps]
    dumped, epochs = settings.model_dump_json(), _epochs(run)
    output = run.folder / "model"
    key = run.stage.key(
        parent["model_id"],
        [[row["instruction"], row["thought"], row["action"], row["observation"]] for row in steps],
        epochs,
    )

    def tell(progress: Progress) -> None:
        run.progress.note = f"loss {progress.loss:.3f}, {progress.tokens_per_second:.0f} tokens/s"
        run.progress.counted(progress.step, progress.steps)
        run.report()

    report = _journalled(run, key, output)
    if run.trial is not None:
        run.trial.total, run.trial.journalled = 1, int(report is not None)
        return Result([])
    assert run.writer is not None
    # Whatever happens now, the checkpoint is not complete before it is committed.
    output = run.writer.folder / "model"
    if report is None:
        run.generation.release()
        report = run.training.finetune(
            run.experiment,
            [trajectory.conversation(domain) for trajectory in demonstrations_of(steps)],
            parent=_parent_folder(run, parent),
            output=output,
            seed=finetuning_seed(run.experiment.seed, str(run.iteration)),
            epochs=epochs,
            on_progress=tell,
        )
        run.journal.put(key, report.model_dump(mode="json"))
    else:
        write_report(output, report)
    curve = [
        point.model_dump(include={"step", "epoch", "loss", "learning_rate", "tokens_per_second"})
        for point in report.loss_curve
    ]
    row = {
        "checkpoint_id": checkpoint_id(
            policy["policy_id"], parent["model_id"], step_ids, dumped, epochs, run.experiment.seed
        ),
        "policy_id": policy["policy_id"],
        "step_ids": step_ids,
        "model_id": report.model_id,
        "folder": str(output.relative_to(run.store.home)),
        "settings": dumped,
        "examples": report.examples,
        "dropped": report.dropped,
        "truncated": report.truncated,
        "epochs": report.epochs,
        "tokens": report.tokens,
        "trained_tokens": report.trained_tokens,
        "seconds": report.seconds,
        "loss_curve": curve,
        "files": [
            {"file": name, "bytes": (output / name).stat().st_size, "sha256": sha256}
            for name, sha256 in sorted(report.files.items())
        ],
    }
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
    }
    if not curve:  # no epoch: the model is as it was
        return Result([row], counts)
    counts |= {"first_loss": curve[0]["loss"], "last_loss": curve[-1]["loss"]}
    picture_of_it = picture(loss_curve(curve), "loss curve")
    return Result([row], counts, {"loss_curve": dg.MetadataValue.md(picture_of_it)})


def _parent_folder(run: StageRun, parent: Row) -> Path:
    if run.experiment.finetuning.restart_from == "base":
        return stored_model(run.store.home, parent, run.experiment.name, None)
    return run.policy_folder(parent)


def _epochs(run: StageRun) -> int:
    """The iteration's passes over D_delib."""
    control_for = run.experiment.control_for
    if control_for is None or run.iteration == INITIALISATION:
        return run.experiment.finetuning.epochs_of(run.number)
    # Every finetuning of a control is on the same conversations, so the last one knows a pass's tokens.
    (before,) = run.rows("checkpoints", f"{run.number - 1:02}")
    (deliberated,) = ArtifactStore(run.store.home, control_for).read("checkpoints", run.iteration).to_dicts()
    passes: float = deliberated["trained_tokens"] * before["epochs"] / before["trained_tokens"]
    return math.ceil(passes)


def _journalled(run: StageRun, key: str, output: Path) -> Report | None:
    """The report of the same finetuning, where its model still lies there whole."""
    kept = run.journal.get(key)
    if kept is None or not (output / "config.json").exists():
        return None
    report = Report.model_validate(kept)
    whole = model_id(output) == report.model_id and altered_file(output, report.files) is None
    return report if whole else None
