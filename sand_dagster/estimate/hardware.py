"""Machines: their memory and speed, with the source of each figure."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from sand_dagster.models.cards import cards

_GB = 10**9


class Device(NamedTuple):
    """A GPU or a CPU core. Bytes, bytes a second, and dense bfloat16 operations a second."""

    name: str
    memory: int
    bandwidth: float
    operations: float
    source: str


GPUS = {
    device.name: device
    for device in (
        Device("A100", 80 * _GB, 2039e9, 312e12, "NVIDIA A100 data sheet, SXM 80 GB"),
        Device("A100-40GB", 40 * _GB, 1555e9, 312e12, "NVIDIA A100 data sheet, SXM 40 GB"),
        Device("H100", 80 * _GB, 3350e9, 989e12, "NVIDIA H100 data sheet, SXM, without sparsity"),
        Device("H200", 141 * _GB, 4800e9, 989e12, "NVIDIA H200 data sheet, SXM, without sparsity"),
        Device("L40S", 48 * _GB, 864e9, 362e12, "NVIDIA L40S data sheet, without sparsity"),
        Device("RTX4090", 24 * _GB, 1008e9, 165e12, "NVIDIA Ada white paper, float32 accumulation"),
    )
}
CORE = Device(
    "CPU", 8 * _GB, 10e9, 40e9, "set by hand, so that the household's stages come near docs/measurements.md"
)
"""One core. Its operations a second are what a small model reaches."""


class Hardware(NamedTuple):
    """`nodes` machines with `devices` devices each. `host_memory` is of one machine, in bytes."""

    device: Device
    devices: int
    nodes: int
    host_memory: int

    @property
    def on_cpu(self) -> bool:
        return self.device.name == CORE.name

    @property
    def gpus(self) -> int:
        """Of all machines."""
        return 0 if self.on_cpu else self.devices * self.nodes

    @property
    def name(self) -> str:
        each = f"{self.devices}x{self.device.name}"
        return each if self.nodes == 1 else f"{self.nodes}x{each}"


class UnknownHardware(ValueError):
    """The text does not name known hardware."""


def hardware(text: str, host_memory_gib: int | None = None) -> Hardware:
    """`8xA100`, `2x8xA100` (two machines), `2xCPU`, or `this`.

    The host's memory is the given value; without one, for `this` the machine's own, else 256 GiB for each GPU
    up to 2 TiB, which such machines usually have.

    Raises:
        UnknownHardware: it is none of these.
    """
    given = None if host_memory_gib is None else host_memory_gib * 1024**3
    if text == "this":
        return _this(given)
    found = re.fullmatch(r"(?:(\d+)x)?(\d+)x([A-Za-z0-9-]+)", text)
    names = {name.lower(): device for name, device in (*GPUS.items(), (CORE.name, CORE))}
    if found is None or found[3].lower() not in names or "0" in (found[1], found[2]):
        raise UnknownHardware(
            f"{text!r} is not known hardware; expected `this`, or a number and a name as in 8xA100, "
            f"for several machines 2x8xA100. Names: {', '.join((*GPUS, CORE.name))}"
        )
    device, count = names[found[3].lower()], int(found[2])
    usual = CORE.memory * count if device is CORE else min(256 * count, 2048) * 1024**3
    return Hardware(device, count, int(found[1] or 1), given or usual)


def _this(host_memory: int | None) -> Hardware:
    memory = host_memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = cards()
    if not found:
        return Hardware(CORE, len(os.sched_getaffinity(0)), 1, memory)
    like = max(
        (
            device
            for device in GPUS.values()
            if device.name.partition("-")[0] in found[0].name.replace(" ", "")
        ),
        key=lambda device: -abs(device.memory - found[0].memory),
        default=GPUS["A100"]._replace(name=found[0].name, source="not known; an A100's rates are assumed"),
    )
    return Hardware(like._replace(memory=min(card.memory for card in found)), len(found), 1, memory)
