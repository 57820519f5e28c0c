"""Where a finetuning's processes run: the interface, and this machine."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from sand_dagster.models.cards import cards
from sand_dagster.models.shape import ModelShape
from sand_dagster.scratch import scratch
from sand_dagster.training.job import PROGRESS_MARK, Progress
from sand_dagster.training.memory import Placement, TrainingDoesNotFit, plan_training
from sand_dagster.training.settings import FinetuningSettings

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",  # on a busy machine, threads that spin while they wait slow each other down
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # CUDA needs this for deterministic matrix products
}
"""Of every process of a training, where it is not set otherwise."""
MODULE = "sand_dagster.training.sft"
_LOG = logging.getLogger(__name__)
_LAST_LINES = 40
_PATIENCE = 10.0


class TrainingFailed(RuntimeError):
    """The finetuning's process failed. The message ends with the last lines of its log."""


class Processes(NamedTuple):
    """The processes of a finetuning, and what of its state each of them holds."""

    nodes: int
    on_each: int
    placement: Placement

    @property
    def world(self) -> int:
        """Of all nodes."""
        return self.nodes * self.on_each

    def command(self, python: str, *rendezvous: str) -> list[str]:
        """What one node runs, without the job's file; `rendezvous` are torchrun's options for several."""
        if self.world == 1 and self.placement == "whole":
            return [python, "-m", MODULE]
        options = rendezvous or ("--standalone",)
        torchrun = ["torch.distributed.run", *options, f"--nproc_per_node={self.on_each}"]
        return [python, "-m", *torchrun, "-m", MODULE]


class Launcher(Protocol):
    """Runs the processes of a finetuning. All of them see this machine's folders at the same paths."""

    def plan(self, parent: Path, settings: FinetuningSettings) -> Processes:
        """How many processes finetune the model in `parent`, and what each holds.

        Raises:
            TrainingFailed: it does not fit.
        """
        ...

    def run(self, processes: Processes, job: Path, on_progress: Callable[[Progress], None]) -> None:
        """Do the `Job` in the file `job`, and return when its model is written.

        Raises:
            TrainingFailed: a process ended with an error.
        """
        ...


class ThisMachine:
    """The `Launcher` of this machine's cards, or of its CPU. The training ends when this process ends."""

    def __init__(self, processes: int = 0) -> None:
        """`processes` of a training; 0: one for each card, or one on a CPU."""
        self._processes = processes

    def plan(self, parent: Path, settings: FinetuningSettings) -> Processes:
        """See `Launcher`. On several processes of a CPU the state is sharded, as on cards."""
        if not (found := cards()):
            return unplanned(1, self._processes or 1, settings)
        if self._processes > len(found):
            raise TrainingFailed(
                f"a training on {self._processes} processes was asked for, but this machine has {len(found)} "
                "GPUs: lower SAND_TRAINING_PROCESSES"
            )
        memory = min(card.memory for card in found)
        return planned(1, self._processes or len(found), memory, parent, settings)

    def run(self, processes: Processes, job: Path, on_progress: Callable[[Progress], None]) -> None:
        """See `Launcher`."""

        def tell(line: str) -> None:
            if line.startswith(PROGRESS_MARK):
                on_progress(Progress.model_validate_json(line.removeprefix(PROGRESS_MARK)))

        run_to_its_end([*processes.command(sys.executable), str(job)], tell)


def run_to_its_end(command: list[str], on_line: Callable[[str], None]) -> None:
    """Run `command`, which ends when this process does, and give each line that it writes to `on_line`.

    Raises:
        TrainingFailed: it ended with an error.
    """
    last = deque[str](maxlen=_LAST_LINES)
    with (
        scratch() as temporary,
        subprocess.Popen(
            command,
            # Nothing is written to it: the process ends when this pipe closes, which also happens if we are
            # killed.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=ENVIRONMENT | os.environ | temporary,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                on_line(line)
                if line.strip() and not line.startswith(PROGRESS_MARK):
                    last.append(line.rstrip())
        except BaseException:
            _end(process)
            raise
    if process.returncode != 0:
        how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit {process.returncode}"
        log = "\n".join(last) or "(it wrote nothing)"
        raise TrainingFailed(f"the finetuning's process failed ({how}). The end of its log:\n{log}")


def planned(
    nodes: int, on_each: int, card_memory: int, parent: Path, settings: FinetuningSettings
) -> Processes:
    """Processes with a card of `card_memory` bytes each, and this machine's memory for each node.

    Raises:
        TrainingFailed: it does not fit.
    """
    host = nodes * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        plan = plan_training(ModelShape.read(parent), settings, nodes * on_each, card_memory, host)
    except TrainingDoesNotFit as error:
        raise TrainingFailed(str(error)) from error
    _LOG.warning("Finetuning %s: %s", parent, plan.describe(settings))
    used = -(-plan.shares.devices // nodes)
    return Processes(nodes, used, plan.placement)


def unplanned(nodes: int, on_each: int, settings: FinetuningSettings) -> Processes:
    """Processes without cards. Several shard full finetuning; each has its own copy with adapters."""
    shard = nodes * on_each > 1 and settings.method == "full"
    return Processes(nodes, on_each, "sharded" if shard else "whole")


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
