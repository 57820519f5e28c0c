"""Attention heads that start with the weights they should learn, after Trockman and Kolter's mimetic
initialisation.

A model this small needs many millions of tokens to learn how to look something up in its context.
Here heads of layer 0 read the token a few places back and write its projection into their own subspace. Heads
of two later layers match one of these subspaces with tokens, or tokens with it, and write the result towards
the
output: to continue after a token as before (induction), or to find the object that was just named. They are
then trained like all other weights.
"""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM

from toy_alfworld.model.recipe.network import ROPE_BASE

_BACK = (1, 2, 3)
"""How many places back the heads of layer 0 read."""

_LAYERS = (1, 3)
"""Where heads match."""

_EMBEDDINGS = 0.06
"""Standard deviation of the embeddings: large enough that they stay readable after the heads' output is
added."""

_CONSTANT = 4.0
"""The embeddings' first dimension, in their standard deviations: for heads that use only positions."""

_WRITTEN = 0.08
"""Scale of the heads' output."""

_MATCH, _PLACE = 2.0, 6.0
"""Scale of the scores of equal tokens, and how far the right place's score is above a distant one's."""

_NEAR, _FAR = 14, 12
"""Pairs of a head's dimensions before the first number rotate fast enough to distinguish positions; those
from the second number on rotate so slowly that contents can be matched over a whole game."""


@torch.no_grad()
def initialise(model: LlamaForCausalLM, seed: int) -> None:
    """Overwrite these heads of a freshly made `model`, and scale its embeddings."""
    generator = torch.Generator().manual_seed(seed)
    width, size = model.config.hidden_size, _head_size(model)
    half = size // 2
    speeds = torch.pow(ROPE_BASE, -torch.arange(half) / half)
    still = torch.cat([torch.arange(_FAR, half), torch.arange(_FAR, half) + half])

    def projection(rows: int) -> torch.Tensor:
        basis: torch.Tensor = torch.linalg.qr(torch.randn(width, rows, generator=generator))[0].T
        basis[:, 0] = 0.0
        return basis

    table = model.model.embed_tokens.weight
    table.mul_(_EMBEDDINGS / model.config.initializer_range)
    table[:, 0] = _CONSTANT * _EMBEDDINGS

    tokens = projection(len(still))
    before = [projection(len(still)) for _ in _BACK]
    turning = speeds[:_NEAR]
    height = (_PLACE * size**0.5 / (1.0 - torch.cos(turning)).sum()).sqrt() / _CONSTANT
    for head, (places, written) in enumerate(zip(_BACK, before, strict=True)):
        query, key, value, output = _head(model, 0, head)
        key[:_NEAR, 0] = height
        query[:_NEAR, 0] = height * torch.cos(turning * places)
        query[half : half + _NEAR, 0] = -height * torch.sin(turning * places)
        value[: len(still)] = tokens
        output[:, : len(still)] = written.T * _WRITTEN

    pairs = [(tokens, before[0]), *((earlier, tokens) for earlier in before)]
    for layer in _LAYERS:
        for head, (asked, read) in enumerate(pairs):
            query, key, value, output = _head(model, layer, head)
            query[still], key[still] = asked * _MATCH**0.5, read * _MATCH**0.5
            copied = projection(size)
            value.copy_(copied)
            output.copy_(copied.T * _WRITTEN)


def _head_size(model: LlamaForCausalLM) -> int:
    return int(model.config.hidden_size // model.config.num_attention_heads)


def _head(model: LlamaForCausalLM, layer: int, head: int) -> list[torch.Tensor]:
    """Views of a head's query, key, value (rows) and output (columns), made small."""
    attention, size = model.model.layers[layer].self_attn, _head_size(model)
    rows = slice(head * size, (head + 1) * size)
    views = [p.weight[rows] for p in (attention.q_proj, attention.k_proj, attention.v_proj)]
    views.append(attention.o_proj.weight[:, rows])
    for view in views:
        view.mul_(0.1)
    return views
