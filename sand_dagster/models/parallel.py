"""How a model's engine is spread over GPUs: copies, each over as few cards as hold it.

A copy a card answers more than one copy over all cards: tensor parallelism pays for every layer with an
exchange between cards. So it is used for what one card cannot hold, and every other card gets a copy.
"""

from __future__ import annotations

from typing import NamedTuple

from sand_dagster.models.shape import ModelShape

_GIB = 1024**3
_ROOM = 4 * _GIB
"""What an engine needs of a card besides weights and attention's cache: activations, CUDA graphs, NCCL."""
_LEAST_SEQUENCES = 4
"""Sequences of full length for which a copy has to have room in its cache; a stage has hundreds at work."""


class DoesNotFit(RuntimeError):
    """No way of using the cards holds the model; the message says what each way would need."""


class Parallelism(NamedTuple):
    """`data_parallel_size` copies of a model, each over `tensor_parallel_size` cards."""

    tensor_parallel_size: int
    data_parallel_size: int
    weights: int
    """Bytes of weights on each card."""
    cache: int
    """Bytes of attention's cache on each card."""

    @property
    def cards(self) -> int:
        return self.tensor_parallel_size * self.data_parallel_size

    def describe(self, shape: ModelShape, cards: int) -> str:
        """In words, for the person who waits."""
        copies = f"{self.data_parallel_size} cop{'y' if self.data_parallel_size == 1 else 'ies'}"
        tokens = self.cache * self.tensor_parallel_size // shape.cache_bytes_per_token()
        text = (
            f"{copies} of the model, each over {self.tensor_parallel_size} of {cards} GPUs: "
            f"{self.weights / _GIB:.1f} GiB of weights and {self.cache / _GIB:.1f} GiB of cache on each, "
            f"{tokens:,} tokens a copy"
        )
        return text + (f"; {cards - self.cards} stay idle" if cards > self.cards else "")


def tensor_parallel_sizes(shape: ModelShape, cards: int) -> list[int]:
    """The numbers of cards, up to `cards`, that vLLM can spread a copy over.

    Each gets as many attention heads, a whole number of key-value heads or a whole share of one, and as many
    columns of the feed-forward part.
    """
    return [
        size
        for size in range(1, cards + 1)
        if shape.heads % size == 0
        and (shape.key_value_heads % size == 0 or size % shape.key_value_heads == 0)
        and shape.intermediate % size == 0
    ]


def parallelism(
    shape: ModelShape, context: int, cards: int, memory: int, share: float, tensor_parallel_size: int = 0
) -> Parallelism:
    """The way to use `cards` cards of `memory` bytes, of which an engine may take `share`.

    The one that uses most cards, of those the one with most copies. `context` is the longest sequence in
    tokens. A `tensor_parallel_size` other than 0 is kept.

    Raises:
        DoesNotFit: the weights, and a cache for a few sequences, are too large for all of them.
    """
    possible = tensor_parallel_sizes(shape, cards)
    if tensor_parallel_size:
        if tensor_parallel_size not in possible:
            raise DoesNotFit(
                f"tensor_parallel_size is {tensor_parallel_size}, but this model can be spread over "
                f"{_either(possible)} of {cards} GPUs: it has {shape.heads} attention heads, "
                f"{shape.key_value_heads} key-value heads and {shape.intermediate} columns"
            )
        possible = [tensor_parallel_size]
    found, needs = [], []
    for size in possible:
        weights = 2 * shape.parameters // size
        cache = int(share * memory) - weights - _ROOM
        # A card holds at least one key-value head.
        wanted = (
            _LEAST_SEQUENCES * context * shape.cache_bytes_per_token() // min(size, shape.key_value_heads)
        )
        if cache >= wanted:
            found.append(Parallelism(size, cards // size, weights, cache))
        needs.append(f"over {size}: {(weights + wanted + _ROOM) / _GIB:.0f} GiB each")
    if not found:
        raise DoesNotFit(
            f"the model's weights and a cache for {_LEAST_SEQUENCES} sequences of {context} tokens need "
            f"{'; '.join(needs)}. There are {cards} GPUs, with {share * memory / _GIB:.0f} GiB for an "
            "engine on each. Lower model.max_model_len, take a smaller model or more cards, or set "
            "generation.base and generation.policy to servers that have it"
        )
    return max(found, key=lambda way: (way.cards, way.data_parallel_size))


def _either(sizes: list[int]) -> str:
    return " or ".join(map(str, sizes))
