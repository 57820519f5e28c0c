"""Documents as batches of tokens: each batch determined by (seed, part, step) alone.

A step of training is made of `PARTS` batches, so that as many processes can share it without changing it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

import torch
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerBase

from sand_dagster.household_model.documents import document
from sand_dagster.household_model.tokenizer import PAD, household_words, prompt_pieces
from sand_dagster.sand.types import Message

PARTS = 2
"""Batches of a step."""

CHUNK = 320
"""Documents that are drawn together, sorted by length, and cut into batches."""

BATCHES = 24
"""Batches of a chunk: some 4,000 tokens each."""

_OTHERS = 0.1
"""Weight in the loss of a token that the assistant did not write: observations teach names, and copying."""

_NAMES = 3.0
"""Weight of a name's or number's token that the assistant wrote: to copy the right one is the hard part."""


class Encoded(NamedTuple):
    """A conversation's token ids, and the weight of each as a target: 0 for the prompts' fixed pieces."""

    ids: Sequence[int]
    weights: Sequence[float]


class Batch(NamedTuple):
    """Right-padded ids (B, T) and weights (B, T)."""

    ids: torch.Tensor
    weights: torch.Tensor


class Encoder:
    """Turns conversations into `Encoded`."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self._fixed = {vocabulary[piece] for piece in prompt_pieces()}
        self._names = {i for token, i in vocabulary.items() if _is_name(token)}

    def __call__(self, messages: Sequence[Message]) -> Encoded:
        """The conversation through the chat template."""
        encoded: Any = self.tokenizer.apply_chat_template(
            list(messages), return_assistant_tokens_mask=True, return_dict=True
        )
        ids, mask = encoded["input_ids"], encoded["assistant_masks"]
        return Encoded(ids, [self._weight(i, bool(m)) for i, m in zip(ids, mask, strict=True)])

    def _weight(self, token: int, written: bool) -> float:
        if token in self._fixed:
            return 0.0
        return (_NAMES if token in self._names else 1.0) if written else _OTHERS


@dataclass
class Stream(IterableDataset[Batch]):
    """The batches of `part` for the steps from `first` to `last` (left out) of the stream `seed`."""

    tokenizer: PreTrainedTokenizerBase
    seed: int
    part: int
    first: int
    last: int

    def __iter__(self) -> Iterator[Batch]:
        encode = Encoder(self.tokenizer)
        pad = self.tokenizer.get_vocab()[PAD]
        batches: list[Batch] = []
        for step in range(self.first, self.last):
            if not batches:
                chunk = step // BATCHES * PARTS + self.part
                drawn = [encode(document(self.seed, chunk * CHUNK + i).messages) for i in range(CHUNK)]
                groups = group(drawn, BATCHES)
                Random(f"batches {self.seed} {chunk}").shuffle(groups)
                batches = [collate(g, pad) for g in groups][step % BATCHES :]
            yield batches.pop(0)


def _is_name(token: str) -> bool:
    word = token.removeprefix("\u0120").partition("\u0120")[0]
    return word.isdigit() or word in household_words()


def group(documents: Sequence[Encoded], count: int) -> list[list[Encoded]]:
    """`count` groups of documents of similar length, with about as many tokens each."""
    total = sum(len(d.ids) for d in documents)
    groups: list[list[Encoded]] = [[] for _ in range(count)]
    before = 0
    for encoded in sorted(documents, key=lambda d: len(d.ids)):
        groups[before * count // total].append(encoded)
        before += len(encoded.ids)
    return groups


def collate(documents: Sequence[Encoded], pad: int) -> Batch:
    """One padded batch; padding weighs nothing."""
    length = max(len(d.ids) for d in documents)
    ids = torch.full((len(documents), length), pad, dtype=torch.long)
    weights = torch.zeros(len(documents), length)
    for row, encoded in enumerate(documents):
        ids[row, : len(encoded.ids)] = torch.tensor(encoded.ids)
        weights[row, : len(encoded.ids)] = torch.tensor(encoded.weights)
    return Batch(ids, weights)
