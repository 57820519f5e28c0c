"""The `Trainer` (`interfaces.py`): TRL in its own process, so that its end frees all memory."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sand_dagster.fingerprints import file_digest
from sand_dagster.ids import digest
from sand_dagster.models.cards import cards
from sand_dagster.models.model_folder import model_id
from sand_dagster.models.shape import ModelShape
from sand_dagster.training.job import (
    PROGRESS_MARK,
    REPORT,
    DpoJob,
    Job,
    Progress,
    Report,
    write_conversations,
)
from sand_dagster.training.memory import TrainingDoesNotFit, TrainingPlan, plan_training
from sand_dagster.training.resuming import STATE, work_folder
from sand_dagster.training.settings import FinetuningSettings
from sand_dagster.types import Message

SAVE_EVERY_S = 300.0
"""A killed training loses at most this many seconds, if saving is quick."""
_LOG = logging.getLogger(__name__)
_LAST_LINES = 40
_PATIENCE = 10.0
_ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_WAIT_POLICY": "PASSIVE",  # on a busy machine, threads that spin while they wait slow each other down
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # CUDA needs this for deterministic matrix products
}


class TrainingFailed(RuntimeError):
    """The finetuning's process failed. The message ends with the last lines of its log."""


class SftTrainer:
    """Supervised finetuning with TRL, Eq. 2 and Eq. 7.

    Same conversations, parent, settings, seed and machine give the same weights on a CPU. With more than one
    GPU visible the training is spread over all of them.
    """

    def __init__(
        self,
        settings: FinetuningSettings,
        on_progress: Callable[[Progress], None] = lambda _: None,
        *,
        key: str = "",
        save_every_s: float = SAVE_EVERY_S,
    ) -> None:
        """`key` is the hash of the code, which decides the weights together with `finetune`'s arguments."""
        # The caller's settings may be of a subclass with more fields than a training needs.
        self._settings = FinetuningSettings.model_validate(
            settings.model_dump(include=set(FinetuningSettings.model_fields))
        )
        self._on_progress = on_progress
        self._key, self._save_every_s = key, save_every_s

    def finetune(
        self,
        conversations: Sequence[Sequence[Message]],
        parent: Path,
        output: Path,
        seed: int,
        epochs: int,
    ) -> Mapping[str, object]:
        """Finetune `parent` on the assistant's tokens; writes a Hugging Face folder to `output`.

        The folder appears completely or not at all, and replaces an earlier one. Returns the fields of
        `Report`, which are also in the folder's `training.json`. If the same finetuning was interrupted, it
        continues from the last saved state; on a CPU it ends with the same weights.

        Raises:
            TrainingFailed: the process ended with an error, or the training does not fit on the cards.
        """
        return self._train(conversations, None, parent, output, seed, epochs)

    def _train(
        self,
        conversations: Sequence[Sequence[Message]],
        preferring: _Preferring | None,
        parent: Path,
        output: Path,
        seed: int,
        epochs: int,
    ) -> Mapping[str, object]:
        plan = _planned(parent, self._settings if preferring is None else preferring.planned(self._settings))
        launcher = _launcher(plan)
        key = digest(
            self._key,
            model_id(parent),
            [list(chat) for chat in conversations],
            None if preferring is None else [preferring.beta, *map(list, preferring.rejected)],
            self._settings.model_dump(mode="json"),
            epochs,
            seed,
            launcher,
        )
        with work_folder(output, key) as work:
            shutil.rmtree(work / "model", ignore_errors=True)
            job = Job(
                parent=parent.resolve(),
                conversations=(work / "conversations.jsonl").resolve(),
                output=(work / "model").resolve(),
                state=(work / STATE).resolve(),
                settings=self._settings,
                epochs=epochs,
                seed=seed,
                placement=plan.placement if plan else "whole",
                save_every_s=self._save_every_s,
                dpo=None if preferring is None else preferring.job(work),
            )
            write_conversations(job.conversations, (list(chat) for chat in conversations))
            if preferring is not None and job.dpo is not None:
                write_conversations(job.dpo.rejected, (list(chat) for chat in preferring.rejected))
            (work / "job.json").write_text(job.model_dump_json())
            self._run(launcher, work / "job.json")
            report = _completed(job.output)
            if output.exists():
                shutil.rmtree(output)
            job.output.rename(output)
        return report.model_copy(update={"model_id": model_id(output)}).model_dump()

    def _run(self, launcher: list[str], job: Path) -> None:
        last = deque[str](maxlen=_LAST_LINES)
        with subprocess.Popen(
            [*launcher, str(job)],
            # Nothing is written to it: the process ends when this pipe closes, which also happens if we are
            # killed.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=_ENVIRONMENT | os.environ,
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    if line.startswith(PROGRESS_MARK):
                        self._on_progress(Progress.model_validate_json(line.removeprefix(PROGRESS_MARK)))
                    elif line.strip():
                        last.append(line.rstrip())
            except BaseException:
                _end(process)
                raise
        if process.returncode != 0:
            how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit {process.returncode}"
            log = "\n".join(last) or "(it wrote nothing)"
            raise TrainingFailed(f"the finetuning's process failed ({how}). The end of its log:\n{log}")


class DpoTrainer(SftTrainer):
    """DPO with TRL on pairs of conversations (Song et al., 2024, Eq. 6), in the same process and frame."""

    def __init__(
        self,
        settings: FinetuningSettings,
        beta: float,
        on_progress: Callable[[Progress], None] = lambda _: None,
        *,
        key: str = "",
        save_every_s: float = SAVE_EVERY_S,
    ) -> None:
        """`settings.batch_size` counts pairs. `beta` is β."""
        super().__init__(settings, on_progress, key=key, save_every_s=save_every_s)
        self._beta = beta

    def prefer(
        self,
        chosen: Sequence[Sequence[Message]],
        rejected: Sequence[Sequence[Message]],
        parent: Path,
        output: Path,
        seed: int,
        epochs: int,
    ) -> Mapping[str, object]:
        """Train `parent` to prefer each of `chosen` to that of `rejected` at its place; as `finetune` else.

        The reference is `parent` as it is. Only the assistant's tokens count.

        Raises:
            TrainingFailed: as `finetune`.
        """
        return self._train(chosen, _Preferring(rejected, self._beta), parent, output, seed, epochs)


class _Preferring(NamedTuple):
    """What DPO needs beside the chosen conversations."""

    rejected: Sequence[Sequence[Message]]
    beta: float

    def job(self, work: Path) -> DpoJob:
        return DpoJob(rejected=(work / "rejected.jsonl").resolve(), beta=self.beta)

    def planned(self, settings: FinetuningSettings) -> FinetuningSettings:
        """The settings by which memory is planned: a device holds both trajectories of a pair."""
        return settings.model_copy(update={"per_device_batch_size": max(2, settings.per_device_batch_size)})


def _planned(parent: Path, settings: FinetuningSettings) -> TrainingPlan | None:
    """How the state is placed on the GPUs of this machine; None: there are none.

    Raises:
        TrainingFailed: it does not fit.
    """
    if not (found := cards()):
        return None
    memory = min(card.memory for card in found)
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        plan = plan_training(ModelShape.read(parent), settings, len(found), memory, host)
    except TrainingDoesNotFit as error:
        raise TrainingFailed(str(error)) from error
    _LOG.warning("Finetuning %s: %s", parent, plan.describe(settings))
    return plan


def _launcher(plan: TrainingPlan | None) -> list[str]:
    module = "sand_dagster.training.sft"
    if plan is None or (plan.shares.devices == 1 and plan.placement == "whole"):
        return [sys.executable, "-m", module]
    launcher = "torch.distributed.run"
    devices = f"--nproc_per_node={plan.shares.devices}"
    return [sys.executable, "-m", launcher, "--standalone", devices, "-m", module]


def _completed(folder: Path) -> Report:
    """Add the hashes of the files to the report, and write it."""
    report = Report.model_validate_json((folder / REPORT).read_text())
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != REPORT)
    report = report.model_copy(update={"files": {path.name: file_digest(path) for path in files}})
    write_report(folder, report)
    return report


def write_report(folder: Path, report: Report) -> None:
    """Write `report` as the `training.json` of a model's folder, completely or not at all."""
    partial = folder / f".{REPORT}"
    partial.write_text(report.model_dump_json(indent=1))
    partial.replace(folder / REPORT)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
