"""The loss curve, printed step by step while a finetuning runs."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from sand_dagster.training.job import Progress
from sand_dagster.training.orchestrator import tell


class LossCurve(TrainerCallback, ExportableState):
    """Collects the points of the loss curve and prints each one immediately.

    They are saved with the training's state, so that the curve of a resumed training is complete.
    """

    def __init__(self) -> None:
        self.curve: list[Progress] = []
        self._since = 0.0
        self._tokens = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._since = time.perf_counter()
        callbacks: Any = state.stateful_callbacks
        saved = callbacks.get(type(self).__name__)
        if state.global_step and saved:
            self.curve[:] = map(Progress.model_validate, saved["attributes"]["curve"])

    def state(self) -> dict[str, Any]:
        """The points that `on_train_begin` finds in a resumed training."""
        return {"args": {}, "attributes": {"curve": [point.model_dump() for point in self.curve]}}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs is None or "loss" not in logs or not state.is_world_process_zero:
            return
        now, tokens = time.perf_counter(), float(logs["num_tokens"])
        point = Progress(
            step=state.global_step,
            steps=state.max_steps,
            epoch=float(state.epoch or 0.0),
            loss=float(logs["loss"]),
            learning_rate=float(logs["learning_rate"]),
            tokens_per_second=(tokens - self._tokens) / (now - self._since),
        )
        self._since, self._tokens = now, tokens
        self.curve.append(point)
        tell(point)
