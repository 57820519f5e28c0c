"""The size of a model, from its config.json: parameters, and the bytes of attention's cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple


class ModelShape(NamedTuple):
    """A decoder with a gated feed-forward part and grouped attention, such as Llama and Qwen2."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocabulary: int
    tied: bool

    @classmethod
    def read(cls, folder: Path) -> ModelShape:
        """The shape of the model in `folder`.

        Raises:
            ValueError: a field is missing in its config.json.
        """
        return cls.of(json.loads((folder / "config.json").read_text()), str(folder))

    @classmethod
    def of(cls, config: dict[str, Any], name: str) -> ModelShape:
        """The shape that `config` states; `name` is for the error's text.

        Raises:
            ValueError: a field is missing.
        """
        try:
            heads = int(config["num_attention_heads"])
            hidden = int(config["hidden_size"])
            return cls(
                layers=int(config["num_hidden_layers"]),
                hidden=hidden,
                intermediate=int(config["intermediate_size"]),
                heads=heads,
                key_value_heads=int(config.get("num_key_value_heads") or heads),
                head_dim=int(config.get("head_dim") or hidden // heads),
                vocabulary=int(config["vocab_size"]),
                tied=bool(config.get("tie_word_embeddings", False)),
            )
        except KeyError as error:
            raise ValueError(
                f"the memory that {name} needs cannot be planned: its config.json has no {error}. "
                "Expected a decoder such as Llama or Qwen2"
            ) from None

    @property
    def layer_parameters(self) -> int:
        """Of one layer: attention, feed-forward, norms."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.key_value_heads)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters, without the few biases."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layers * self.layer_parameters + embeddings + self.hidden

    def adapter_parameters(self, rank: int) -> int:
        """Of LoRA adapters of `rank` at every linear layer but the head."""
        query, key = self.heads * self.head_dim, self.key_value_heads * self.head_dim
        sides = 2 * (self.hidden + query) + 2 * (self.hidden + key) + 3 * (self.hidden + self.intermediate)
        return self.layers * rank * sides

    def cache_bytes_per_token(self, width: int = 2) -> int:
        """Of attention's cache, `width` bytes a number."""
        return 2 * self.layers * self.key_value_heads * self.head_dim * width


KNOWN: dict[str, ModelShape] = {
    # From their config.json on the hub.
    "meta-llama/Llama-3.1-8B-Instruct": ModelShape(32, 4096, 14336, 32, 8, 128, 128256, tied=False),
    "Qwen/Qwen2.5-7B-Instruct": ModelShape(28, 3584, 18944, 28, 4, 128, 152064, tied=False),
    "smollm2": ModelShape(30, 576, 1536, 9, 3, 64, 49152, tied=True),
}
"""The models of the shipped experiments, so that memory can be planned before they are downloaded."""
