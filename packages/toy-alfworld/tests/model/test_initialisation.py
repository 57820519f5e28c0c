from __future__ import annotations

import torch

from toy_alfworld.model.recipe.initialisation import initialise
from toy_alfworld.model.recipe.network import configuration, network

WORDS, LENGTH = 500, 60


def test_untrained_heads_read_a_few_places_back_and_where_a_token_stood_before() -> None:
    torch.manual_seed(0)
    model = network(configuration(WORDS, 0, 1), torch.device("cpu"), torch.float32)
    model.set_attn_implementation("eager")
    once = 2 + torch.randperm(WORDS - 2)[:LENGTH]
    ids = torch.cat([once, once])[None]

    def looks(layer: int, head: int, back: int) -> float:
        """Mean share of the second half's attention at so many places back."""
        with torch.no_grad():
            attention = model(ids, output_attentions=True, use_cache=False).attentions[layer][0, head]
        return attention.diagonal(-back)[-LENGTH + 2 :].mean().item()

    induction = LENGTH - 1
    assert looks(1, 0, induction) < 0.05
    initialise(model, seed=1)
    assert [looks(0, head, head + 1) > 0.7 for head in range(3)] == [True] * 3
    assert looks(1, 0, induction) > 0.25, "to the token after the same token"
    assert looks(1, 1, LENGTH + 1) > 0.15, "to the token before it"
