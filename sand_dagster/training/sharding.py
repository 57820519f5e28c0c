"""Sharding over processes (FSDP2): that it is done where it was asked for."""

from __future__ import annotations

from typing import Any

from accelerate import PartialState
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_UNEVEN = 1.5
"""A process may hold this many times its share: tensors are not always divisible."""


def shard_on_cpus() -> None:
    """Make accelerate shard over processes without GPUs, which communicate over gloo.

    It drops FSDP on several CPUs without a message, and trains whole copies. Its FSDP2 works there if it
    takes the processes for several GPUs. To be called after the group of processes has started.
    """
    if PartialState().distributed_type == DistributedType.MULTI_CPU:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


class Shares(TrainerCallback):
    """Logs how many of the parameters each process holds, and refuses to train whole copies."""

    def __init__(self, *, sharded: bool) -> None:
        self._sharded = sharded

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        model: nn.Module = given["model"]
        held, whole = parameters_held(model)
        print(f"process {args.process_index} holds {held} of {whole} parameters", flush=True)
        if self._sharded and held > _UNEVEN * whole / args.world_size:
            raise ValueError(
                f"this finetuning has to be sharded over {args.world_size} processes, but process "
                f"{args.process_index} holds {held} of {whole} parameters. The installed accelerate does not "
                "shard here; use the versions of requirements/, or one device with a smaller model"
            )


def parameters_held(model: nn.Module) -> tuple[int, int]:
    """The numbers of parameters that this process holds, and of all."""
    parameters = list(model.parameters())
    held = sum((each.to_local() if isinstance(each, DTensor) else each).numel() for each in parameters)
    return held, sum(each.numel() for each in parameters)
