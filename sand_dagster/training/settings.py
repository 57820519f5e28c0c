"""The settings of a finetuning (Section 5.1, "Implementation details")."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sand_dagster.models.templates import TemplateChoice


class LoraSettings(BaseModel):
    """Low-rank adapters (peft). The adapter is merged into the checkpoint that is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rank: int = Field(default=16, ge=1, description="Rank r of the adapters.")
    alpha: int = Field(default=32, ge=1, description="Adapters are scaled by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Dropout before the adapters.")
    targets: Literal["all-linear"] | tuple[str, ...] = Field(
        default="all-linear",
        description="Modules that get an adapter, by name; `all-linear`: every linear layer but the head.",
    )


class FinetuningSettings(BaseModel):
    """Supervised finetuning, Eq. 2 and Eq. 7. The defaults are the paper's; epochs are set by iteration."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    batch_size: int = Field(
        default=64, ge=1, description="Trajectories for each optimiser step, over all devices."
    )
    per_device_batch_size: int = Field(
        default=8,
        ge=1,
        description="At most this many trajectories on a device at once; accumulation gives `batch_size`.",
    )
    learning_rate: float = Field(default=1e-5, gt=0.0, description="Peak learning rate of AdamW.")
    scheduler: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="How the learning rate falls over the training."
    )
    max_length: int = Field(
        default=4096, ge=8, description="Tokens of a trajectory that are trained on; the rest is cut off."
    )
    method: Literal["full", "lora"] = Field(default="full", description="Train all weights, or adapters.")
    lora: LoraSettings = Field(default=LoraSettings(), description="Used if `method` is `lora`.")
    gradient_checkpointing: bool = Field(
        default=False,
        description="Recompute activations: less memory, half the speed. Use it for large models.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Number format of matrix products. `auto`: bfloat16 if it is fast, else float32.",
    )
    chat_template: TemplateChoice = Field(
        default="auto", description="How chats become text; `auto` recognises the model's own format."
    )
