"""How a batch is spread over devices: what each holds at once, and how often gradients are accumulated."""

from __future__ import annotations

from typing import NamedTuple


class Spread(NamedTuple):
    """`devices` times `per_device` trajectories at once, `accumulation` times an optimiser step."""

    devices: int
    per_device: int
    accumulation: int

    @property
    def batch_size(self) -> int:
        """Trajectories an optimiser step."""
        return self.devices * self.per_device * self.accumulation

    def describe(self, asked: int) -> str:
        """In words, beside the batch that was asked for."""
        text = (
            f"{self.devices} device{'s' if self.devices > 1 else ''} x {self.per_device} trajectories x "
            f"{self.accumulation} accumulated = {self.batch_size} an optimiser step"
        )
        if self.batch_size != asked:
            text += f", instead of {asked}, which {self.devices} devices cannot make up"
        return text


def spread(batch_size: int, per_device: int, devices: int) -> Spread:
    """The way of making up `batch_size` on `devices` with at most `per_device` trajectories on each at once.

    Exact wherever that is possible; of several ways the one that accumulates least. Otherwise the nearest
    batch, the larger one of two as near. More devices than trajectories are not used.
    """
    used = min(devices, batch_size)
    ways = []
    for held in range(1, per_device + 1):
        below = max(1, batch_size // (held * used))
        ways += [Spread(used, held, below), Spread(used, held, below + 1)]
    return min(
        ways,
        key=lambda way: (abs(way.batch_size - batch_size), -way.batch_size, way.accumulation),
    )
