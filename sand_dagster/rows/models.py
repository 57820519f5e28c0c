"""Models: the base model's files, the policy of an iteration, and the checkpoint that it is finetuned to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sand_dagster.roles import Role
from sand_dagster.rows.row import Parent, Part, Row, of


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModelRow(Row):
    """A file of the frozen base model."""

    table: ClassVar = "base_model"
    partitioned: ClassVar = False

    file_id: Annotated[str, "id of the file"]
    model_id: Annotated[str, "content hash of the model"]
    source: Annotated[str, "the name in the experiment"]
    folder: Annotated[str, "its folder; empty for an endpoint"]
    file: Annotated[str, "name of the file"]
    bytes: Annotated[int, "its size"]
    sha256: Annotated[str, "its hash"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow(Row):
    """The model that this iteration samples from and finetunes."""

    table: ClassVar = "policy"

    policy_id: Annotated[str, "id of the policy in this iteration"]
    checkpoint_id: Annotated[
        str,
        "the checkpoint of the previous iteration; empty: the base model",
        (Parent("checkpoints", previous=True),),
    ]
    model_id: Annotated[str, "content hash of the model"]
    folder: Annotated[str, "the model's folder"]
    role: Annotated[Role, "policy (π_k) or base"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint(Part):
    """A line of a training's log. `epoch` counts from 0 and has a fraction."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile(Part):
    """A file of a checkpoint."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow(Row):
    """A finetuning."""

    table: ClassVar = "checkpoints"

    checkpoint_id: Annotated[str, "id of the checkpoint"]
    policy_id: Annotated[str, "the model that was finetuned", of("policy")]
    step_ids: Annotated[
        tuple[str, ...],
        "the training steps; with variants rft and eto also the explorations that it was finetuned on",
        of("expert_trajectories", "deliberation_trajectories", "explorations"),
    ]
    model_id: Annotated[str, "content hash of the finetuned model"]
    folder: Annotated[str, "its folder, relative to $SAND_HOME"]
    settings: Annotated[str, "JSON: the finetuning's settings"]
    examples: Annotated[int, "conversations trained on"]
    dropped: Annotated[
        tuple[str, ...], "trajectories and explorations without anything to learn within max_length"
    ]
    truncated: Annotated[tuple[str, ...], "trajectories and explorations that were cut at max_length"]
    epochs: Annotated[int, "passes over them"]
    tokens: Annotated[int, "tokens seen"]
    trained_tokens: Annotated[int, "the agent's own tokens, over which the loss is computed"]
    seconds: Annotated[float, "duration"]
    loss_curve: Annotated[tuple[LossPoint, ...], "the training's log"]
    files: Annotated[tuple[ModelFile, ...], "the checkpoint's files"]
