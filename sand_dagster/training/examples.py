"""Conversations as training examples: tokens, and over which of them the loss is computed (Eq. 2, Eq. 7)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sand_dagster.models.spans import TrainingChats, Unstable
from sand_dagster.models.templates import WAY_OUT, NoChatTemplate
from sand_dagster.types import Message

IGNORED = -100
"""The label of a token that is not part of the loss."""


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation. `labels` equals `input_ids` at the assistant's tokens, and is `IGNORED` elsewhere."""

    input_ids: list[int]
    labels: list[int]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Examples:
    """The data of a training.

    `dropped` and `truncated` are the places, from 0, of conversations: those that had no token of the
    assistant within `max_length`, and those that were cut there.
    """

    kept: list[Example]
    dropped: list[int]
    truncated: list[int]

    @property
    def tokens(self) -> int:
        """Tokens of one pass over all."""
        return sum(len(example.input_ids) for example in self.kept)

    @property
    def trained_tokens(self) -> int:
        """Those over which the loss is computed."""
        return sum(label != IGNORED for example in self.kept for label in example.labels)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two conversations of one task; DPO prefers the first."""

    chosen: Example
    rejected: Example


@dataclass(frozen=True, slots=True)
class Pairs:
    """The data of a training by DPO. `dropped` and `truncated` are as in `Examples`, for one side or both."""

    kept: list[Pair]
    dropped: list[int]
    truncated: list[int]

    @property
    def both(self) -> Examples:
        """All conversations of the pairs."""
        sides = [side for pair in self.kept for side in (pair.chosen, pair.rejected)]
        return Examples(sides, self.dropped, self.truncated)


def encode(conversation: Sequence[Message], chats: TrainingChats, max_length: int) -> Example | None:
    """One conversation, cut to `max_length` tokens; None if no token of the assistant is left.

    Tokens after the assistant's last token cannot change the loss and are left out. The end-of-turn token
    counts as the assistant's, so that the model learns to stop.

    Raises:
        Unstable: the template cannot write this conversation as the model would be prompted with it.
    """
    ids, written = chats.tokens(conversation)
    labels = [token if mask else IGNORED for token, mask in zip(ids, written, strict=True)][:max_length]
    if all(label == IGNORED for label in labels):
        return None
    return Example(ids[:max_length], labels, truncated=len(ids) > max_length)


def encode_all(conversations: Iterable[Sequence[Message]], chats: TrainingChats, max_length: int) -> Examples:
    """All conversations, in order.

    Raises:
        NoChatTemplate: the template cannot write one of them; the message says which, why, and what to do.
    """
    kept, dropped, truncated = [], [], []
    for place, example in enumerate(_encoded(conversations, chats, max_length)):
        if example is None:
            dropped.append(place)
            continue
        kept.append(example)
        if example.truncated:
            truncated.append(place)
    return Examples(kept, dropped, truncated)


def encode_pairs(
    chosen: Iterable[Sequence[Message]],
    rejected: Iterable[Sequence[Message]],
    chats: TrainingChats,
    max_length: int,
) -> Pairs:
    """The pairs of `chosen` and `rejected`, which stand at the same places.

    Raises:
        NoChatTemplate: as `encode_all`.
        ValueError: there are more of one than of the other.
    """
    sides = (_encoded(chosen, chats, max_length), _encoded(rejected, chats, max_length))
    kept, dropped, truncated = [], [], []
    for place, (better, worse) in enumerate(zip(*sides, strict=True)):
        if better is None or worse is None:
            dropped.append(place)
            continue
        kept.append(Pair(better, worse))
        if better.truncated or worse.truncated:
            truncated.append(place)
    return Pairs(kept, dropped, truncated)


def _encoded(
    conversations: Iterable[Sequence[Message]], chats: TrainingChats, max_length: int
) -> Iterator[Example | None]:
    for number, conversation in enumerate(conversations, start=1):
        try:
            yield encode(conversation, chats, max_length)
        except Unstable as reason:
            raise NoChatTemplate(
                f"conversation {number} cannot be trained on, because the chat template {reason}. {WAY_OUT}"
            ) from reason
