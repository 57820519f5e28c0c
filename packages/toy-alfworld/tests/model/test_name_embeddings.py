from __future__ import annotations

import torch
from transformers import AutoTokenizer

from toy_alfworld.model import weights
from toy_alfworld.model.recipe.name_embeddings import NameEmbeddings


def test_parts_make_the_whole_and_get_its_gradient() -> None:
    tokenizer = AutoTokenizer.from_pretrained(weights())
    names = NameEmbeddings(tokenizer)
    parts = torch.randn(len(tokenizer), 4, dtype=torch.float64, requires_grad=True)
    whole = names.whole(parts)
    assert not torch.equal(whole, parts)
    torch.testing.assert_close(names.parts(whole), parts)
    towards = torch.randn_like(whole)
    whole.backward(towards)
    assert parts.grad is not None
    torch.testing.assert_close(names.gradient(towards), parts.grad)
