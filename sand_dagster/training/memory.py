"""The memory that a finetuning needs, and how to place it on the cards.

All ways keep weights, gradients and Adam's moments in float32 and compute in bfloat16: at a learning rate of
1e-5 an update is smaller than bfloat16's rounding. So what does not fit is sharded, then kept in the host's
memory; its precision is not lowered.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from sand_dagster.models.shape import ModelShape
from sand_dagster.training.devices import Spread, spread
from sand_dagster.training.settings import FinetuningSettings

_GIB = 1024**3
_STATE = 16  # bytes per parameter: weight, gradient, two moments of Adam, 4 each
_HALF = 2  # bytes per parameter in bfloat16
_OUTSIDE = 3 * _GIB  # CUDA's context, NCCL's buffers, the loss's chunks of scores
_USABLE = 0.94  # share of a card's memory; the rest is lost to fragmentation

Placement = Literal["whole", "sharded", "offloaded"]
"""The state on every device; a share of it on each; a share in the host's memory, layers on cards in turn."""


class TrainingDoesNotFit(RuntimeError):
    """No placement fits; the message says what each needs and what helps."""


class TrainingPlan(NamedTuple):
    """A placement, and bytes: `card` on each card, `host` of the machine."""

    placement: Placement
    shares: Spread
    card: int
    host: int

    def describe(self, settings: FinetuningSettings) -> str:
        """The same in words, for the user."""
        how = {
            "whole": "the whole state on each card",
            "sharded": "weights, gradients and optimizer sharded (FSDP2)",
            "offloaded": "weights, gradients and optimizer sharded in the host's memory (FSDP2, offloaded)",
        }[self.placement]
        what = "full finetuning" if settings.method == "full" else f"LoRA of rank {settings.lora.rank}"
        return (
            f"{what}, {how}: {self.card / _GIB:.0f} GiB on each of {self.shares.devices} cards, "
            f"{self.host / _GIB:.0f} GiB of the host's memory; {self.shares.describe(settings.batch_size)}"
        )


def for_pairs(settings: FinetuningSettings) -> FinetuningSettings:
    """The settings by which a DPO's memory is planned: a device holds both trajectories of a pair."""
    return settings.model_copy(update={"per_device_batch_size": max(2, settings.per_device_batch_size)})


def activations(shape: ModelShape, tokens: int, *, checkpointing: bool) -> int:
    """Bytes for `tokens` on a device, in bfloat16; the scores of the vocabulary are computed in chunks."""
    hidden = tokens * shape.hidden * _HALF
    layer = 10 * hidden + 4 * tokens * shape.intermediate * _HALF
    return shape.layers * hidden + 2 * layer if checkpointing else shape.layers * layer


def placements(
    shape: ModelShape, settings: FinetuningSettings, devices: int, tokens: int | None = None
) -> list[TrainingPlan]:
    """All ways for `devices` cards, the fastest first, whether they fit or not.

    `tokens` is the longest trajectory's length; None: `max_length`.
    """
    shares = spread(settings.batch_size, settings.per_device_batch_size, devices)
    longest = min(settings.max_length, tokens or settings.max_length)
    active = activations(shape, shares.per_device * longest, checkpointing=settings.gradient_checkpointing)
    count = shape.parameters
    whole_copy = 4 * count  # written to disk, and what one process reads
    if settings.method == "lora":
        adapters = _STATE * shape.adapter_parameters(settings.lora.rank)
        card = _HALF * count + adapters + active + _OUTSIDE
        return [TrainingPlan("whole", shares, card, shares.devices * _HALF * count)]
    # FSDP gathers weights and gradients of two layers, and of the parts outside of layers.
    outside = count - shape.layers * shape.layer_parameters
    gathered = 2 * _HALF * (2 * shape.layer_parameters + outside)
    ways = []
    if shares.devices == 1:
        # Autocast keeps a copy of the weights in bfloat16 for the backward pass.
        ways.append(TrainingPlan("whole", shares, (_STATE + _HALF) * count + active + _OUTSIDE, whole_copy))
    else:
        card = _STATE * count // shares.devices + gathered + active + _OUTSIDE
        ways.append(TrainingPlan("sharded", shares, card, 2 * whole_copy))
    ways.append(TrainingPlan("offloaded", shares, gathered + active + _OUTSIDE, _STATE * count + whole_copy))
    return ways


def plan_training(
    shape: ModelShape,
    settings: FinetuningSettings,
    devices: int,
    card_memory: int,
    host_memory: int,
    tokens: int | None = None,
) -> TrainingPlan:
    """The first placement that fits into `card_memory` on each card and `host_memory`, in bytes.

    Raises:
        TrainingDoesNotFit: none fits. The method is never changed, because adapters give another model.
    """
    ways = placements(shape, settings, devices, tokens)
    for way in ways:
        if way.card <= _USABLE * card_memory and way.host <= host_memory:
            return way
    needs = "; ".join(way.describe(settings) for way in ways)
    ways_out = ["more or larger cards", "a smaller finetuning.max_length"]
    if not settings.gradient_checkpointing:
        ways_out.append("finetuning.gradient_checkpointing: true")
    if settings.method == "full":
        lora = settings.model_copy(update={"method": "lora"})
        (adapters,) = placements(shape, lora, devices, tokens)
        ways_out.append(f"finetuning.method: lora ({adapters.card / _GIB:.0f} GiB on each card)")
    raise TrainingDoesNotFit(
        f"this finetuning does not fit {devices} cards of {card_memory / _GIB:.0f} GiB and "
        f"{host_memory / _GIB:.0f} GiB of the host's memory. It needs: {needs}. What helps: "
        + ", ".join(ways_out)
    )
