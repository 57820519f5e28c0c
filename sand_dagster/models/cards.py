"""The NVIDIA GPUs of this machine, without asking torch, whose import takes seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from typing import NamedTuple

_MIB = 1024**2


class Card(NamedTuple):
    """One GPU. `memory` is in bytes."""

    name: str
    memory: int
    uuid: str = ""


@cache
def cards() -> tuple[Card, ...]:
    """The GPUs that this process may use: those of `CUDA_VISIBLE_DEVICES`, else all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = None if visible is None else [name.strip() for name in visible.split(",") if name.strip()]
    return tuple(
        Card(name, int(memory) * _MIB, uuid)
        for index, uuid, name, memory in _asked("index", "uuid", "name", "memory.total")
        if chosen is None or index in chosen or any(uuid.startswith(each) for each in chosen)
    )


def memory_in_use() -> int:
    """MiB that all processes together use on the fullest of `cards`; 0 without cards."""
    ours = {card.uuid for card in cards()}
    used = (int(used) for uuid, used in _asked("uuid", "memory.used") if uuid in ours) if ours else ()
    return max(used, default=0)


def _asked(*fields: str) -> list[list[str]]:
    """What `nvidia-smi` says of each GPU; nothing where there is no such program, or no GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = (f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    asked = subprocess.run([program, *query], capture_output=True, text=True, check=False)
    lines = asked.stdout.splitlines() if asked.returncode == 0 else []
    return [[part.strip() for part in line.split(",")] for line in lines]
