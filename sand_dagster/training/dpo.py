"""DPO with TRL on pairs of trajectories, over the agent's own tokens only (Song et al., 2024, Eq. 6).

TRL's DPO takes everything after the prompt as the completion: of a trajectory that is the observations too.
ETO masks them, since the environment wrote them and not the agent. Here the collator gives TRL a completion
mask that has the assistant's tokens and no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.utils import pad

from sand_dagster.training.examples import IGNORED, Example, Pairs


class PairCollator:
    """Batches of pairs: all chosen, then all rejected, padded on the right to the longest of both."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask` and `completion_mask`, each (2 x pairs, tokens); the reference's
        log-probabilities, each (pairs), once they are there."""
        sides = [
            (example[f"{side}_ids"], example[f"{side}_labels"])
            for side in ("chosen", "rejected")
            for example in examples
        ]
        ids = [torch.tensor(tokens) for tokens, _ in sides]
        written = [torch.tensor([int(label != IGNORED) for label in labels]) for _, labels in sides]
        batch = {
            "input_ids": pad(ids, padding_value=self._pad_token_id, padding_side="right"),
            "attention_mask": pad(list(map(torch.ones_like, ids)), padding_value=0, padding_side="right"),
            "completion_mask": pad(written, padding_value=0, padding_side="right"),
        }
        for reference in ("ref_chosen_logps", "ref_rejected_logps"):
            if reference in examples[0]:
                batch[reference] = torch.tensor([example[reference] for example in examples])
        return batch


class PairTrainer(DPOTrainer):
    """TRL's DPOTrainer on pairs that are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        """`dataset` as it is: TRL would tokenize texts, and mark all after the prompt as the completion."""
        return dataset


def arguments(beta: float, shared: Mapping[str, Any]) -> DPOConfig:
    """TRL's arguments for DPO; `shared` are those that every training has.

    The reference's log-probabilities are computed once, before the first step, from the model that the
    training starts from: it takes no memory during the training, and a resumed training has the same ones.
    """
    return DPOConfig(
        **shared,
        beta=beta,
        loss_type=["sigmoid"],
        precompute_ref_log_probs=True,
        max_length=None,  # the examples are already cut
        remove_unused_columns=False,
    )


def trainer(
    arguments: DPOConfig,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Pairs,
    lora: LoraConfig | None,
    callbacks: list[TrainerCallback],
) -> PairTrainer:
    """A trainer of `model` on `pairs`."""
    token = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    assert isinstance(token, int), "the tokenizer has neither a padding token nor an end token"
    return PairTrainer(
        model=model,
        args=arguments,
        data_collator=PairCollator(token),
        train_dataset=dataset(pairs),
        processing_class=tokenizer,
        peft_config=lora,
        callbacks=callbacks,
    )


def dataset(pairs: Pairs) -> Dataset:
    """The pairs as the collator reads them."""
    chosen, rejected = ([getattr(pair, side) for pair in pairs.kept] for side in ("chosen", "rejected"))
    return Dataset.from_dict({**_columns("chosen", chosen), **_columns("rejected", rejected)})


def _columns(side: str, examples: Sequence[Example]) -> dict[str, list[list[int]]]:
    return {
        f"{side}_ids": [example.input_ids for example in examples],
        f"{side}_labels": [example.labels for example in examples],
    }
