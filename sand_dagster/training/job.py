"""The messages between the trainer and its process: the job, the progress, the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from sand_dagster.training.memory import Placement
from sand_dagster.training.settings import FinetuningSettings
from sand_dagster.types import Message

PROGRESS_MARK = "SAND-PROGRESS "
"""The start of those lines of the process's output that contain a `Progress`; all others are its log."""

REPORT = "training.json"
"""The report's file in a checkpoint's folder."""

_MESSAGES = TypeAdapter(list[dict[str, str]])


class DpoJob(BaseModel):
    """What a finetuning by DPO needs beside the chosen conversations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rejected: Path
    """JSON lines like `Job.conversations`, one for each of them, in order."""
    beta: float


class Job(BaseModel):
    """A finetuning to do. Paths are absolute."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parent: Path
    conversations: Path
    """JSON lines, each a list of messages."""
    output: Path
    state: Path
    """The folder in which the training saves its state, and looks for the state of an earlier one."""
    settings: FinetuningSettings
    epochs: int
    seed: int
    placement: Placement = "whole"
    save_every_s: float
    """Seconds after which the state is saved, so that a killed training can continue from there."""
    dpo: DpoJob | None = None
    """If given, the training is DPO, and `conversations` are those that it prefers."""


class Progress(BaseModel):
    """One optimiser step done: a point of the loss curve."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    tokens_per_second: float


class Report(BaseModel):
    """`training.json`: the figures of a finetuning, and the files that it wrote."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    examples: int
    """Conversations, or pairs of them, trained on."""
    dropped: list[int]
    """Those with no token of the assistant within `max_length`: their places in the job's file, from 0."""
    truncated: list[int]
    """Those that were cut to `max_length`: their places."""
    tokens: int
    """Tokens seen, all epochs together, padding not counted."""
    trained_tokens: int
    """The assistant's tokens, over which the loss is computed."""
    epochs: int
    seed: int
    seconds: float
    device: str
    dtype: str
    loss_curve: list[Progress]
    versions: dict[str, str]
    devices: int = 1
    per_device_batch_size: int = 1
    """Trajectories that a device held at once."""
    gradient_accumulation_steps: int = 1
    placement: Placement = "whole"
    files: dict[str, str] = {}
    """SHA-256 of every other file of the folder."""
    model_id: str = ""

    @property
    def batch_size(self) -> int:
        """Trajectories for each optimiser step. Not the experiment's if the devices do not allow that."""
        return self.devices * self.per_device_batch_size * self.gradient_accumulation_steps


def write_conversations(path: Path, conversations: Iterator[list[Message]]) -> None:
    """Write one conversation per line."""
    with path.open("wb") as file:
        for conversation in conversations:
            file.write(_MESSAGES.dump_json(conversation) + b"\n")


def read_conversations(path: Path) -> Iterator[list[Message]]:
    """Read what `write_conversations` wrote."""
    with path.open("rb") as file:
        for line in file:
            yield _MESSAGES.validate_json(line)
