"""The `Trainer` (`interfaces.py`): TRL in its own process, so that its end frees all memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sand_dagster.fingerprints import file_digest
from sand_dagster.ids import digest
from sand_dagster.models.model_folder import model_id
from sand_dagster.training.job import REPORT, DpoJob, Job, Progress, Report, write_conversations
from sand_dagster.training.launching import Launcher, ThisMachine
from sand_dagster.training.memory import for_pairs
from sand_dagster.training.resuming import STATE, work_folder
from sand_dagster.training.settings import FinetuningSettings
from sand_dagster.types import Message

SAVE_EVERY_S = 300.0
"""A killed training loses at most this many seconds, if saving is quick."""


class SftTrainer:
    """Supervised finetuning with TRL, Eq. 2 and Eq. 7.

    Same conversations, parent, settings, seed and machine give the same weights on a CPU.
    """

    def __init__(
        self,
        settings: FinetuningSettings,
        on_progress: Callable[[Progress], None] = lambda _: None,
        *,
        key: str = "",
        save_every_s: float = SAVE_EVERY_S,
        launcher: Launcher | None = None,
    ) -> None:
        """`key` is the hash of the code, which decides the weights together with `finetune`'s arguments.

        `launcher` says where it runs; None: on this machine, on all its cards.
        """
        # The caller's settings may be of a subclass with more fields than a training needs.
        self._settings = FinetuningSettings.model_validate(
            settings.model_dump(include=set(FinetuningSettings.model_fields))
        )
        self._on_progress = on_progress
        self._key, self._save_every_s = key, save_every_s
        self._launcher = launcher or ThisMachine()

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
        settings = self._settings if preferring is None else for_pairs(self._settings)
        processes = self._launcher.plan(parent, settings)
        key = digest(
            self._key,
            model_id(parent),
            [list(chat) for chat in conversations],
            None if preferring is None else [preferring.beta, *map(list, preferring.rejected)],
            self._settings.model_dump(mode="json"),
            epochs,
            seed,
            processes.world,
            processes.placement,
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
                placement=processes.placement,
                save_every_s=self._save_every_s,
                dpo=None if preferring is None else preferring.job(work),
            )
            write_conversations(job.conversations, (list(chat) for chat in conversations))
            if preferring is not None and job.dpo is not None:
                write_conversations(job.dpo.rejected, (list(chat) for chat in preferring.rejected))
            (work / "job.json").write_text(job.model_dump_json())
            self._launcher.run(processes, (work / "job.json").resolve(), self._on_progress)
            report = _completed(job.output)
            if output.exists():
                shutil.rmtree(output)
            job.output.rename(output)
        return report.model_copy(update={"model_id": model_id(output)}).model_dump()


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
        launcher: Launcher | None = None,
    ) -> None:
        """`settings.batch_size` counts pairs. `beta` is β."""
        super().__init__(settings, on_progress, key=key, save_every_s=save_every_s, launcher=launcher)
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
