"""Chats as tokens, fast enough for thousands of long conversations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from sand_dagster.models.rendering import render
from sand_dagster.types import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KEPT_PIECES = 65_536
_PROBE: list[Message] = [
    {"role": "user", "content": " You are in a room.\n\nGo 1."},
    {"role": "assistant", "content": "Thought: it's here \n\nAction: go to desk 1"},
    {"role": "user", "content": "\nNothing happens. "},
]


class ChatEncoder:
    """Writes chats as prompts, with a chat template, and encodes them.

    A rollout encodes its whole history at every turn. Most tokenizers encode the text between special tokens
    independently, so these pieces are encoded once and cached. If joining the pieces gives other tokens than
    encoding the whole text (this is tested once, here), the whole text is encoded.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str) -> None:
        self._tokenizer = tokenizer
        self._template = template
        special = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        self._special = {text: int(i) for text, i in tokenizer.get_added_vocab().items()}
        self._split = re.compile(f"({'|'.join(map(re.escape, special))})") if special else None
        self._piece = lru_cache(maxsize=_KEPT_PIECES)(self._encode)
        probe = self.render(_PROBE)
        self._by_pieces = self._split is not None and self._joined(probe) == self._encode(probe)

    def render(self, messages: Sequence[Message], *, prompting: bool = True) -> str:
        """The chat's text; with `prompting` up to the point where the assistant writes.

        Raises:
            ChatRefused: the template refuses these messages.
        """
        return render(self._tokenizer, self._template, messages, prompting=prompting)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt's token ids.

        Raises:
            ChatRefused: the template refuses these messages.
        """
        return self.encode_text(self.render(messages))

    def encode_text(self, text: str) -> list[int]:
        """The token ids of a rendered chat. The template writes a start token if the model needs one."""
        return self._joined(text) if self._by_pieces else self._encode(text)

    def _joined(self, text: str) -> list[int]:
        assert self._split is not None
        ids: list[int] = []
        for piece in self._split.split(text):
            token = self._special.get(piece)
            if token is not None:
                ids.append(token)
            elif piece:
                ids += self._piece(piece)
        return ids

    def _encode(self, text: str) -> list[int]:
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return [int(i) for i in ids]
