"""Conversations as training examples: tokens, and which of them the loss is over (Eq. 2, Eq. 7)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sand_dagster.sand.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that the loss is not over."""


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation. `labels` equals `input_ids` where the assistant wrote, and is `IGNORED` elsewhere."""

    input_ids: list[int]
    labels: list[int]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Examples:
    """What a training sees. `dropped` conversations had no token of the assistant within `max_length`."""

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
        """Those of them that the loss is over."""
        return sum(label != IGNORED for example in self.kept for label in example.labels)


def encode(
    conversation: Sequence[Message], tokenizer: PreTrainedTokenizerBase, template: str, max_length: int
) -> Example | None:
    """One conversation, cut to `max_length` tokens; None if no token of the assistant is left.

    What follows the assistant's last token cannot change the loss and is left out. The end-of-turn token is
    the assistant's: it is how the model learns to stop.
    """
    encoded: Any = tokenizer.apply_chat_template(
        list(conversation),
        chat_template=template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ids: list[int] = encoded["input_ids"]
    written: list[int] = encoded["assistant_masks"]
    last = max((i for i, mask in enumerate(written) if mask), default=-1)
    end = min(last + 1, max_length)
    labels = [token if mask else IGNORED for token, mask in zip(ids[:end], written[:end], strict=True)]
    if all(label == IGNORED for label in labels):
        return None
    return Example(ids[:end], labels, truncated=last + 1 > max_length)


def encode_all(
    conversations: Iterable[Sequence[Message]],
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    max_length: int,
) -> Examples:
    """All conversations, in order."""
    encoded = [encode(conversation, tokenizer, template, max_length) for conversation in conversations]
    kept = [example for example in encoded if example is not None]
    return Examples(kept, len(encoded) - len(kept))
