"""Documents as batches of tokens: each batch is determined by (seed, part, step).

A step of training has `PARTS` batches, so that up to this many processes can share it with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, Protocol

import torch
from torch.utils.data import IterableDataset
from transformers import PreTrainedTokenizerBase

from sand_dagster.types import Message
from toy_alfworld.model.recipe.tokenizer import PAD, household_words, prompt_pieces

PARTS = 2
"""Batches of a step."""

CHUNK = 320
"""This many documents are drawn together, sorted by length, and cut into batches."""

_OTHERS = 0.1
"""Loss weight of a token that the assistant did not write: observations teach names and copying."""

_DECISIONS = 3.0
"""Loss weight of tokens that are hard to predict: the assistant's names and numbers, the text after such a
name, and the text after a colon or a semicolon (the conclusion from a fact)."""


class Conversation(Protocol):
    """A training document; the assistant's messages after the first `context` messages are trained on."""

    @property
    def messages(self) -> Sequence[Message]: ...

    @property
    def context(self) -> int: ...


class Lessons(NamedTuple):
    """What a model is taught: the document at an index of the stream of a seed, and the number of batches, of
    about 4,000 tokens each, that `CHUNK` documents make."""

    draw: Callable[[int, int], Conversation]
    batches: int


class Encoded(NamedTuple):
    """A conversation's token ids, and the weight of each as a target.

    It is 0 for the prompts' fixed parts, and for the assistant's earlier messages that are only context.
    """

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
        self._cues = self._names | {i for token, i in vocabulary.items() if token.endswith((":", ";"))}

    def __call__(self, document: Conversation) -> Encoded:
        """The conversation through the chat template."""
        encoded: Any = self.tokenizer.apply_chat_template(
            list(document.messages), return_assistant_tokens_mask=True, return_dict=True
        )
        untaught = sum(message["role"] == "assistant" for message in document.messages[: document.context])
        ids, weights = encoded["input_ids"], list[float]()
        turn, before, previous = 0, 0, -1
        for token, mask in zip(ids, encoded["assistant_masks"], strict=True):
            turn += mask > before
            decides = token in self._names or previous in self._cues
            weights.append(0.0 if mask and turn <= untaught else self._weight(token, bool(mask), decides))
            before, previous = mask, token
        return Encoded(ids, weights)

    def _weight(self, token: int, written: bool, decides: bool) -> float:
        if token in self._fixed:
            return 0.0
        return (_DECISIONS if decides else 1.0) if written else _OTHERS


@dataclass
class Stream(IterableDataset[Batch]):
    """The batches of `part` for the steps from `first` to `last` (left out) of the stream `seed`.

    Its first `skip` documents are left out.
    """

    lessons: Lessons
    tokenizer: PreTrainedTokenizerBase
    seed: int
    part: int
    first: int
    last: int
    skip: int = 0

    def __iter__(self) -> Iterator[Batch]:
        encode = Encoder(self.tokenizer)
        pad = self.tokenizer.get_vocab()[PAD]
        draw, count = self.lessons
        batches: list[Batch] = []
        for step in range(self.first, self.last):
            if not batches:
                chunk = step // count * PARTS + self.part
                drawn = [encode(draw(self.seed, self.skip + chunk * CHUNK + i)) for i in range(CHUNK)]
                groups = group(drawn, count)
                Random(f"batches {self.seed} {chunk}").shuffle(groups)
                batches = [collate(g, pad) for g in groups][step % count :]
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
    """One padded batch; padding has weight 0."""
    length = max(len(d.ids) for d in documents)
    ids = torch.full((len(documents), length), pad, dtype=torch.long)
    weights = torch.zeros(len(documents), length)
    for row, encoded in enumerate(documents):
        ids[row, : len(encoded.ids)] = torch.tensor(encoded.ids)
        weights[row, : len(encoded.ids)] = torch.tensor(encoded.weights)
    return Batch(ids, weights)
