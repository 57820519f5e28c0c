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
    """The data of a training. `dropped` conversations had no token of the assistant within `max_length`."""

    kept: list[Example]
    dropped: int

    @property
    def truncated(self) -> int:
        """How many of the kept were cut off."""
        return sum(example.truncated for example in self.kept)

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
    """The data of a training by DPO. Of `dropped` pairs a side had no token of the assistant."""

    kept: list[Pair]
    dropped: int

    @property
    def both(self) -> Examples:
        """All conversations of the pairs."""
        return Examples([side for pair in self.kept for side in (pair.chosen, pair.rejected)], self.dropped)


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
    encoded = list(_encoded(conversations, chats, max_length))
    kept = [example for example in encoded if example is not None]
    return Examples(kept, len(encoded) - len(kept))


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
    encoded = list(zip(*sides, strict=True))
    kept = [Pair(better, worse) for better, worse in encoded if better is not None and worse is not None]
    return Pairs(kept, len(encoded) - len(kept))


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
