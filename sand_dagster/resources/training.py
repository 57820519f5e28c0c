"""Training: supervised finetuning as a Dagster resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import dagster as dg

from sand_dagster.experiments.experiment import Experiment
from sand_dagster.models.card_locks import CardLocks
from sand_dagster.training.job import Progress, Report
from sand_dagster.training.trainer import SftTrainer
from sand_dagster.types import Message


class Training(dg.ConfigurableResource[None]):
    """TRL's SFTTrainer in its own process, with the experiment's finetuning settings."""

    def finetune(
        self,
        experiment: Experiment,
        conversations: Sequence[Sequence[Message]],
        *,
        parent: Path,
        output: Path,
        seed: int,
        epochs: int,
        key: str,
        on_progress: Callable[[Progress], None],
    ) -> Report:
        """Finetune the model in `parent` on the agent's tokens; `output` becomes a Hugging Face folder.

        `key` is the unit's key: a killed training is resumed only if it has the same key.

        Raises:
            TrainingFailed: the training's process ended with an error.
        """
        trainer = SftTrainer(experiment.finetuning, on_progress, key=key)
        with CardLocks.of_this_machine().holding():
            return Report.model_validate(trainer.finetune(conversations, parent, output, seed, epochs))
