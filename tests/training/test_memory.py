"""The memory that a finetuning needs, and the chosen placement, planned without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from sand_dagster.experiments.loading import load_experiments
from sand_dagster.models.shape import KNOWN
from sand_dagster.training.memory import TrainingDoesNotFit, plan_training
from sand_dagster.training.settings import FinetuningSettings

GB = 10**9
GIB = 1024**3
LLAMA = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]
SHIPPED, _ = load_experiments(Path("/nonexistent"))
PAPER = SHIPPED["alfworld-llama31-8b"].finetuning


def test_eight_billion_parameters_are_sharded_over_eight_cards() -> None:
    plan = plan_training(LLAMA, PAPER, 8, 80 * GB, 1024 * GIB)
    assert plan.placement == "sharded"
    # 16 bytes per parameter over eight cards are 16 GB; activations and gathered layers are added.
    assert 16 * GB < plan.card < 40 * GB
    assert "sharded" in plan.describe(PAPER)


def test_on_one_card_the_state_is_in_the_hosts_memory() -> None:
    plan = plan_training(LLAMA, PAPER, 1, 80 * GB, 256 * GIB)
    assert plan.placement == "offloaded"
    assert plan.card < 80 * GB
    assert plan.host >= 16 * LLAMA.parameters


def test_a_small_model_is_whole_on_one_card() -> None:
    plan = plan_training(KNOWN["smollm2"], SHIPPED["smollm2"].finetuning, 1, 24 * GB, 32 * GIB)
    assert plan.placement == "whole"


def test_what_fits_nowhere_is_refused_with_figures_and_a_way_out() -> None:
    with pytest.raises(TrainingDoesNotFit) as refused:
        plan_training(LLAMA, PAPER, 1, 80 * GB, 64 * GIB)
    said = str(refused.value)
    assert "does not fit 1 cards of 75 GiB and 64 GiB of the host's memory" in said
    assert "finetuning.method: lora (" in said
    lora = PAPER.model_copy(update={"method": "lora"})
    plan = plan_training(LLAMA, lora, 1, 80 * GB, 64 * GIB)
    assert 16 * GB < plan.card < 40 * GB
    assert "LoRA of rank 16" in plan.describe(lora)


def test_longer_trajectories_need_more() -> None:
    short, long = (
        plan_training(LLAMA, PAPER.model_copy(update={"max_length": n}), 8, 80 * GB, 1024 * GIB).card
        for n in (4096, 16384)
    )
    assert long > short


def test_without_checkpointing_the_error_suggests_it() -> None:
    settings = FinetuningSettings(per_device_batch_size=8, max_length=16384)
    with pytest.raises(TrainingDoesNotFit, match="gradient_checkpointing: true"):
        plan_training(LLAMA, settings, 8, 80 * GB, 1024 * GIB)
