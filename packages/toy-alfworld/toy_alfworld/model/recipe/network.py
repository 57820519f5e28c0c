"""The household model's network: a small Llama with tied embeddings."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from toy_alfworld.model import CONTEXT
from toy_alfworld.model.recipe import attention

ROPE_BASE = 500_000.0
"""So high that most of a head's dimensions hardly rotate over a game: tokens are found by content, not
position."""


LAYERS = 6


def configuration(vocabulary: int, pad: int, end: int, layers: int = LAYERS) -> LlamaConfig:
    """The architecture for a tokenizer of `vocabulary` entries, whose padding and end tokens are given."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        tie_word_embeddings=True,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
        initializer_range=0.02,
    )


def network(config: LlamaConfig, device: torch.device, precision: torch.dtype) -> LlamaForCausalLM:
    """A model of this architecture with new random weights, whose attention reads only whole sequences."""
    model = cast(Any, LlamaForCausalLM)(config)
    if device.type == "cpu":
        model.set_attn_implementation(attention.NAME)
    return cast(LlamaForCausalLM, model.to(device, precision))
