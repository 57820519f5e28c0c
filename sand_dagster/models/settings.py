"""Which model generates, and how its engine is set up."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sand_dagster.models.templates import TemplateChoice


class Checkpoint(NamedTuple):
    """A finetuned policy on a server: its checkpoint."""

    checkpoint_id: str
    iteration: str
    """The iteration that made it."""


class ModelSource(BaseModel):
    """A model: a folder, a name on the Hugging Face hub, or a model served at a URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        description="A folder in Hugging Face's format, a name on the hub, or the name at `endpoint`."
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit on the hub.")
    endpoint: str | None = Field(
        default=None,
        description="Base URL of an OpenAI-compatible API, as http://127.0.0.1:8000/v1; unset: vLLM here.",
    )
    also_at: tuple[str, ...] = Field(
        default=(), description="Base URLs of further endpoints that serve the same model."
    )
    checkpoint: Path | None = Field(
        default=None,
        description="The folder that the endpoint has to serve under this name, and no other model.",
    )
    tokenizer: Path | None = Field(
        default=None,
        description="The model's folder, if prompts are made here with its tokenizer and sent as token ids; "
        "unset: the endpoint makes them of chats with its own template.",
    )
    checkpoint_id: str = Field(
        default="", description="The checkpoint in the folder `model`; empty: it is the base model."
    )
    engine_version: str | None = Field(
        default=None, description="The version of vLLM that the endpoint must have; unset: any."
    )
    api_key_variable: str | None = Field(
        default=None, description="Environment variable with the endpoint's key, if it needs one."
    )


class GenerationSettings(BaseModel):
    """How an engine is set up. Sampling is the caller's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_model_len: int | None = Field(
        default=None,
        ge=16,
        description="Tokens of prompt and completion together; unset: the limit of the model or endpoint.",
    )
    chat_template: TemplateChoice = Field(
        default="auto", description="How chats become text, except on an endpoint that gets chats."
    )
    max_num_seqs: int = Field(default=64, ge=1, description="Requests that the engine works on at once.")
    kv_cache_gib: float = Field(
        default=1.0, gt=0.0, description="Memory for attention's cache on a CPU, GiB."
    )
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0.0, lt=1.0, description="Share of a GPU's memory for weights and attention's cache."
    )
    tensor_parallel_size: int = Field(
        default=0, ge=0, description="GPUs that one copy of a model is spread over; 0: chosen by its size."
    )
    endpoint_retries: int = Field(
        default=6,
        ge=0,
        description="How often a failed request to an endpoint is repeated, with a longer wait each time.",
    )
    endpoint_patience: float = Field(
        default=900.0,  # outlives an outage of ten minutes, and the start of a server after it
        ge=0.0,
        description="Seconds to wait if no endpoint can be reached.",
    )
    endpoint_timeout: float = Field(
        default=600.0, gt=0.0, description="Seconds to wait for an endpoint's answer."
    )
