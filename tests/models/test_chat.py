"""Cached pieces give the same tokens as encoding the whole text."""

from __future__ import annotations

import pytest
from tokenizers import pre_tokenizers

from sand_dagster.models.chat import ChatEncoder
from sand_dagster.models.templates import published
from tests.training.tiny_model import HOUSEHOLD, LLAMA, QWEN, tiny_chat, tiny_tokenizer


@pytest.mark.parametrize(
    ("name", "special"), [("household", HOUSEHOLD), ("llama-3.1", LLAMA), ("qwen-2.5", QWEN)]
)
@pytest.mark.parametrize("prefix_space", [False, True])
def test_pieces_join_to_the_whole(name: str, special: tuple[str, ...], prefix_space: bool) -> None:
    tokenizer = tiny_tokenizer(special)
    if (
        prefix_space
    ):  # such a tokenizer adds a space at the start of a text, so a piece differs from the whole
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    encoder = ChatEncoder(tokenizer, published(name))
    for number in range(20):
        chat = tiny_chat(number, turns=number % 4)
        whole = tokenizer.apply_chat_template(
            chat, chat_template=published(name), add_generation_prompt=True, return_dict=True
        )["input_ids"]
        assert encoder.encode(chat) == whole
        assert encoder.encode(chat) == whole
