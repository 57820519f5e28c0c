"""How a batch is spread over devices: trajectories on each at once, and accumulation steps."""

from __future__ import annotations

from typing import NamedTuple


class Spread(NamedTuple):
    """`devices` times `per_device` trajectories at once, `accumulation` times for each optimiser step."""

    devices: int
    per_device: int
    accumulation: int

    @property
    def batch_size(self) -> int:
        """Trajectories for each optimiser step."""
        return self.devices * self.per_device * self.accumulation

    def describe(self, asked: int) -> str:
        """The same in words, with the requested batch."""
        text = (
            f"{self.devices} device{'s' if self.devices > 1 else ''} x {self.per_device} trajectories x "
            f"{self.accumulation} accumulated = {self.batch_size} per optimiser step"
        )
        if self.batch_size != asked:
            text += f", instead of {asked}, which is not possible on {self.devices} devices"
        return text


def spread(batch_size: int, per_device: int, devices: int) -> Spread:
    """A way to get `batch_size` on `devices` with at most `per_device` trajectories on each at once.

    It is exact if that is possible; among several ways it is the one with least accumulation. Otherwise it is
    the nearest batch, and of two equally near ones the larger. If there are more devices than trajectories,
    the others are not used.
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
