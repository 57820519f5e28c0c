"""Policies and checkpoints: their ids, and the seed of a finetuning (Section 4.1 and Section 4.5)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sand_dagster.ids import derive_seed, identify
from sand_dagster.rows.models import CheckpointRow


def policy_id(iteration: str, checkpoint_id: str, model_id: str) -> str:
    """The id of π_k. `checkpoint_id` is the previous iteration's; empty in 00, where π is the base model."""
    return identify("policy", iteration, checkpoint_id, model_id)


def checkpoint_id(
    policy_id: str, parent_model_id: str, step_ids: Sequence[str], settings: str, epochs: int, seed: int
) -> str:
    """The id of π_θ after a finetuning.

    Args:
        policy_id: π_k.
        parent_model_id: the model that is finetuned: π_k's, or the base model's where it is restarted from.
        step_ids: the steps of D_delib, in order.
        settings: the finetuning's settings, as JSON.
        epochs: passes over D_delib.
        seed: the experiment's.
    """
    return identify("checkpoints", policy_id, parent_model_id, list(step_ids), settings, epochs, seed)


def finetuning_seed(seed: int, iteration: str) -> int:
    """The seed of an iteration's finetuning, derived from the experiment's `seed`."""
    return derive_seed(seed, iteration, "finetuning")


def control_epochs(deliberated: CheckpointRow, before: CheckpointRow) -> int:
    """The least whole number of passes by which a control trains on as many of the agent's own tokens.

    Every finetuning of a control is on the same conversations, so its last one knows the tokens of a pass.

    Args:
        deliberated: of the experiment that it is a control for, in the same iteration.
        before: the control's own, in the iteration before.
    """
    passes = deliberated.trained_tokens * before.epochs / before.trained_tokens
    return math.ceil(passes)
