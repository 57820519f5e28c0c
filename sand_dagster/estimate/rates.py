"""Seconds for tokens: what a machine's devices reach of their data sheets, and how long things start."""

from __future__ import annotations

from collections.abc import Mapping

from sand_dagster.estimate.hardware import Hardware
from sand_dagster.estimate.lengths import Lengths
from sand_dagster.models.parallel import Parallelism
from sand_dagster.models.shape import ModelShape
from sand_dagster.training.memory import TrainingPlan

PREFILL, TRAINING, DECODING = 0.5, 0.4, 0.6
"""Assumed efficiency: shares of a GPU's operations in prefill and training, of its bandwidth in decoding."""
ENGINE_SHARE = 0.9
_AT_WORK = 256  # sequences that a copy works on
ENGINE_START_S, TRAINER_START_S = 150.0, 120.0
_CPU_ENGINE_START_S, _CPU_TRAINER_START_S = 24.0, 13.0
_CPU_STEP_S = 0.0004
"""Seconds of one core for a token in addition to its operations: vLLM's and Python's own work."""
_HOST_BANDWIDTH = 50e9
"""Bytes a second that an optimizer step in the host's memory processes."""


class Rates:
    """Seconds for tokens."""

    def __init__(
        self,
        shape: ModelShape,
        means: Lengths,
        hardware: Hardware,
        generation: Parallelism | None,
        trainings: Mapping[str, TrainingPlan],
    ) -> None:
        self.hardware, self._shape, self._trainings = hardware, shape, trainings
        self._copies = (generation.data_parallel_size if generation else 1) * hardware.nodes
        self._tensor = generation.tensor_parallel_size if generation else 1
        self._cache = generation.cache * self._tensor if generation else 0
        self._context = means.opening + means.steps / 2 * (means.acting + means.observation)

    def generate(self, prefill: float, completion: float, units: float) -> float:
        """Seconds to read `prefill` tokens that no cache holds, and to write `completion`."""
        shape, device = self._shape, self.hardware.device
        if self.hardware.on_cpu:
            return self._on_cores(2.0 * shape.parameters, prefill / 8 + completion, prefill + completion)
        sequence = self._context * shape.cache_bytes_per_token()
        at_work = max(1.0, min(_AT_WORK, units / self._copies, self._cache / sequence))
        step = (2.0 * shape.parameters + at_work * sequence) / (DECODING * device.bandwidth * self._tensor)
        reading = 2.0 * shape.parameters * prefill / (PREFILL * device.operations * self._tensor)
        return (reading + completion * step / at_work) / self._copies

    def train(self, part: str, tokens: float, steps: float, *, checkpointing: bool) -> float:
        """Seconds for `steps` of the optimizer on `tokens`, all epochs together, in the training `part`."""
        operations = (8.0 if checkpointing else 6.0) * self._shape.parameters
        if self.hardware.on_cpu:
            return self._on_cores(operations, 0.0, tokens)
        plan = self._trainings.get(part)
        devices = plan.shares.devices if plan else self.hardware.devices
        seconds = tokens * operations / (devices * TRAINING * self.hardware.device.operations)
        if plan and plan.placement == "offloaded":
            seconds += steps * 2 * 16 * self._shape.parameters / _HOST_BANDWIDTH
        return seconds

    def _on_cores(self, operations: float, steps: float, tokens: float) -> float:
        cores = self.hardware.devices * self.hardware.nodes
        return (steps * _CPU_STEP_S + tokens * operations / self.hardware.device.operations) / cores

    @property
    def engine_start(self) -> float:
        return _CPU_ENGINE_START_S if self.hardware.on_cpu else ENGINE_START_S

    @property
    def trainer_start(self) -> float:
        return _CPU_TRAINER_START_S if self.hardware.on_cpu else TRAINER_START_S
