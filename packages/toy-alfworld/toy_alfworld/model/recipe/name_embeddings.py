"""Names made of parts: in training, the embedding of ` cabinet 2` includes those of ` cabinet` and ` 2`.

So what is learnt about a word holds for all names with that word from the first step on: it need not be
learnt for each number that ` cabinet 2` is a cabinet. The exported model has an ordinary table.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase

from toy_alfworld.model.recipe.tokenizer import household_names


class NameEmbeddings:
    """Converts between a table of parts, which is trained, and the model's table of token embeddings."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        tokens = [(name, *name.split()) for name in household_names()]
        ids = [[_single(tokenizer, f" {part}") for part in parts] for parts in tokens]
        self.names, self.words, self.numbers = torch.tensor(ids).unbind(1)

    def whole(self, parts: torch.Tensor) -> torch.Tensor:
        """The model's table (V, width)."""
        table = parts.clone()
        table[self.names] += parts[self.words] + parts[self.numbers]
        return table

    def parts(self, whole: torch.Tensor) -> torch.Tensor:
        """The table of parts whose `whole` is this one."""
        table = whole.clone()
        table[self.names] -= whole[self.words] + whole[self.numbers]
        return table

    def gradient(self, whole: torch.Tensor) -> torch.Tensor:
        """The gradient of the parts, given that of the whole table."""
        gradient = whole.clone()
        gradient.index_add_(0, self.words, whole[self.names])
        gradient.index_add_(0, self.numbers, whole[self.names])
        return gradient


def _single(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ValueError(f"the tokenizer splits {text!r} into {len(ids)} tokens: build it again")
    return int(ids[0])
