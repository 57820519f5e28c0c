"""Training: supervised finetuning, and DPO, as a Dagster resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg

from sand_dagster.experiments.experiment import Experiment
from sand_dagster.models.card_locks import CardLocks
from sand_dagster.training.job import Progress, Report
from sand_dagster.training.trainer import DpoTrainer, SftTrainer
from sand_dagster.types import Message


class Training(dg.ConfigurableResource[None]):
    """TRL in its own process, with the experiment's settings: its SFTTrainer, or for pairs its DPOTrainer."""

    def finetune(
        self,
        experiment: Experiment,
        conversations: Sequence[Sequence[Message]],
        *,
        rejected: Sequence[Sequence[Message]] | None = None,
        parent: Path,
        output: Path,
        seed: int,
        epochs: int,
        key: str,
        on_progress: Callable[[Progress], None],
    ) -> Report:
        """Finetune the model in `parent` on the agent's tokens; `output` becomes a Hugging Face folder.

        With `rejected`, one for each of `conversations`, this is DPO that prefers `conversations` to them.

        `key` is the unit's key: a killed training is resumed only if it has the same key.

        Raises:
            TrainingFailed: the training's process ended with an error.
        """
        with CardLocks.of_this_machine().holding():
            if rejected is None:
                sft = SftTrainer(experiment.finetuning, on_progress, key=key)
                return Report.model_validate(sft.finetune(conversations, parent, output, seed, epochs))
            eto = experiment.eto
            settings = experiment.finetuning.model_copy(
                update={"learning_rate": eto.learning_rate, "batch_size": eto.batch_size}
            )
            dpo = DpoTrainer(settings, eto.beta, on_progress, key=key)
            return Report.model_validate(dpo.prefer(conversations, rejected, parent, output, seed, epochs))
