"""When a training saves its state, and which state it can be resumed from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_MOST = 0.05
"""Share of the time that saving may take: the state of a large model is a hundred gigabytes."""


class Saving(TrainerCallback):
    """Saves weights, optimizer, schedule and random states every `every_s` seconds.

    A shorter training saves nothing. Saving draws no random number, so it changes no result.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last = self._cost = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._last = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        due = time.monotonic() - self._last >= max(self._every_s, self._cost / _MOST)
        if state.global_step < state.max_steps and _of_first_process(due, args):
            control.should_save = True
            self._last = time.monotonic()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._cost = time.monotonic() - self._last
        self._last = time.monotonic()


def _of_first_process(due: bool, args: TrainingArguments) -> bool:
    """The first process's answer, in all processes: they have to save together, and their clocks differ."""
    import torch
    from torch import distributed

    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return due
    answer = torch.tensor([due], device=args.device)
    distributed.broadcast(answer, src=0)
    return bool(answer.item())


def last_saved(folder: Path) -> Path | None:
    """The newest complete state in `folder`: one with the trainer's own record, which is written last."""
    found = []
    for saved in folder.glob("checkpoint-*"):
        try:
            step = json.loads((saved / "trainer_state.json").read_text())["global_step"]
        except (OSError, ValueError, KeyError):
            continue
        found.append((step, saved))
    return max(found)[1] if found else None
