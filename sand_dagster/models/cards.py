"""The NVIDIA GPUs of this machine, without asking torch, whose import takes seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from typing import NamedTuple

_MIB = 1024**2
_QUERY = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")


class Card(NamedTuple):
    """One GPU. `memory` is in bytes."""

    name: str
    memory: int
    uuid: str = ""


@cache
def cards() -> tuple[Card, ...]:
    """The GPUs that this process may use: those of `CUDA_VISIBLE_DEVICES`, else all."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    asked = subprocess.run([program, *_QUERY], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        return ()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = None if visible is None else [name.strip() for name in visible.split(",") if name.strip()]
    found = []
    for line in asked.stdout.splitlines():
        index, uuid, name, memory = (part.strip() for part in line.split(","))
        if chosen is None or index in chosen or any(uuid.startswith(each) for each in chosen):
            found.append(Card(name, int(memory) * _MIB, uuid))
    return tuple(found)
