"""The household model's network: a small Llama with tied embeddings."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from sand_dagster.household_model import CONTEXT


def configuration(vocabulary: int, pad: int, end: int) -> LlamaConfig:
    """The architecture for a tokenizer of `vocabulary` entries, whose padding and end tokens are given."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=320,
        intermediate_size=896,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
        initializer_range=0.02,
    )


def network(config: LlamaConfig, device: torch.device, precision: torch.dtype) -> LlamaForCausalLM:
    """A model of this architecture with fresh random weights."""
    model = cast(Any, LlamaForCausalLM)(config)
    return cast(LlamaForCausalLM, model.to(device, precision))
