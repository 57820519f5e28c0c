"""The paper's tokens a task (Table 4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sand_dagster.evaluation.published import LLAMA, published_reward
from sand_dagster.experiments.experiment import Experiment

TOKENS: Mapping[str, Mapping[str, float]] = {
    "alfworld": {"00": 498.3, "01": 1314.2, "02": 1105.8, "03": 1146.2},
    "scienceworld": {"00": 800.0, "01": 2411.9, "02": 2522.1, "03": 2253.6},
}
"""Completion tokens a task of Llama-3.1-8B-Instruct, by environment and iteration (00: SFT)."""


def published_tokens(
    experiment: Experiment, iteration: str, tasks: Mapping[str, int], home: Path
) -> float | None:
    """The paper's tokens a task for `iteration` of `experiment`; None: the paper has none.

    The paper gives one figure for all test tasks, of the full algorithm with Llama-3.1-8B-Instruct. `tasks`
    has the number of tasks of each split; see `published_reward` for when an experiment is the paper's.

    Raises:
        ExperimentError: the shipped profile cannot be used.
    """
    if (
        experiment.variant != "full"
        or experiment.model.base != LLAMA
        or experiment.finetuning.epochs == (0,)
        or {"seen", "unseen"} - tasks.keys()
    ):
        return None
    rewards = [published_reward(experiment, iteration, split, tasks[split], home) for split in tasks]
    return None if None in rewards else TOKENS[experiment.environment.kind].get(iteration)
