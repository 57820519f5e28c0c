"""How a model's engine is spread over GPUs: copies, each over as few cards as possible.

One copy on each card completes more requests than one copy over all cards, because tensor parallelism needs
an exchange between cards in every layer. So it is used only if one card cannot hold the model, and the other
cards get copies.
"""

from __future__ import annotations

from typing import NamedTuple

from sand_dagster.models.shape import ModelShape

_GIB = 1024**3
_ROOM = 4 * _GIB
"""Memory of an engine in addition to weights and attention's cache: activations, CUDA graphs, NCCL."""
_LEAST_SEQUENCES = 4
"""A copy's cache needs room for this many sequences of full length; a stage has hundreds in progress."""


class DoesNotFit(RuntimeError):
    """The model does not fit in any way; the message says what each way would need."""


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
        """The same in words, for the user."""
        copies = f"{self.data_parallel_size} cop{'y' if self.data_parallel_size == 1 else 'ies'}"
        tokens = self.cache * self.tensor_parallel_size // shape.cache_bytes_per_token()
        text = (
            f"{copies} of the model, each over {self.tensor_parallel_size} of {cards} GPUs: "
            f"{self.weights / _GIB:.1f} GiB of weights and {self.cache / _GIB:.1f} GiB of cache on each, "
            f"{tokens:,} tokens for each copy"
        )
        return text + (f"; {cards - self.cards} stay idle" if cards > self.cards else "")


def tensor_parallel_sizes(shape: ModelShape, cards: int) -> list[int]:
    """The numbers of cards, up to `cards`, that vLLM can spread a copy over.

    Every card gets the same number of attention heads, a whole number of key-value heads or an equal part of
    one, and the same number of columns of the feed-forward part.
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
    """The way to use `cards` cards of `memory` bytes, of which an engine may use `share`.

    It is the way that uses most cards, and among these the one with most copies. `context` is the longest
    sequence in tokens. A `tensor_parallel_size` other than 0 is kept.

    Raises:
        DoesNotFit: the weights and a cache for a few sequences do not fit in any way.
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
            "engine on each. Lower model.max_model_len, use a smaller model or more cards, or set "
            "generation.base and generation.policy to servers that have it"
        )
    return max(found, key=lambda way: (way.cards, way.data_parallel_size))


def _either(sizes: list[int]) -> str:
    return " or ".join(map(str, sizes))
