"""Deliberation finetuning."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from sand_dagster.assets.metadata import picture
from sand_dagster.assets.stage import Result, StageRun, stage
from sand_dagster.sand.identity import derive_seed, digest, identify
from sand_dagster.sand.trajectories import demonstrations_of
from sand_dagster.training.plots import loss_curve


@stage(
    after=("deliberation_trajectories",),
    reads=("policy", "base_model"),
    settings=("finetuning", "model.base", "seed"),
    kinds=frozenset({"pytorch", "huggingface"}),
    gpu=True,
)
def checkpoints(run: StageRun) -> Result:
    """π_θ finetuned on D_delib, with a loss on the agent's own tokens (Eq. 7; Eq. 2 in iteration 00)."""
    steps = run.rows("deliberation_trajectories")
    trajectories = demonstrations_of(steps)
    domain = run.experiment.environment.module.DOMAIN
    (policy,) = run.rows("policy")
    parent = run.rows("base_model")[0] if run.experiment.finetuning.restart_from == "base" else policy
    settings = run.experiment.finetuning
    epochs = settings.epochs_of(run.number)
    outcome = run.training.finetune(
        run.experiment,
        [trajectory.conversation(domain) for trajectory in trajectories],
        parent=run.store.home / parent["folder"],
        output=run.writer.folder / "model",
        seed=derive_seed(run.experiment.seed, run.iteration, "finetuning"),
        epochs=epochs,
        progress=run.progress,
        report=run.report,
    )
    dumped = settings.model_dump_json()
    step_ids = [row["step_id"] for row in steps]
    row = {
        "checkpoint_id": identify(
            "checkpoints",
            policy["policy_id"],
            parent["model_id"],
            digest(step_ids),
            dumped,
            run.experiment.seed,
        ),
        "policy_id": policy["policy_id"],
        "step_ids": step_ids,
        "model_id": outcome.model_id,
        "folder": str(Path(run.writer.folder / "model").relative_to(run.store.home)),
        "settings": dumped,
        "examples": outcome.examples,
        "dropped": outcome.dropped,
        "truncated": outcome.truncated,
        "tokens": outcome.tokens,
        "seconds": outcome.seconds,
        "loss_curve": outcome.loss_curve,
        "files": outcome.files,
    }
    curve = outcome.loss_curve
    counts: dict[str, int | float] = {
        "epochs": epochs,
        "examples": outcome.examples,
        "dropped": outcome.dropped,
        "truncated": outcome.truncated,
        "tokens": outcome.tokens,
        "seconds": outcome.seconds,
        "tokens_per_second": outcome.tokens / outcome.seconds,
        "learning_rate": settings.learning_rate,
    }
    if curve:
        counts |= {"first_loss": curve[0]["loss"], "last_loss": curve[-1]["loss"]}
    return Result(
        [row], counts, {"loss_curve": dg.MetadataValue.md(picture(loss_curve(curve), "loss curve"))}
    )
