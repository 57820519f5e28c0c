"""The plan of how a model is spread over GPUs, tested without a GPU."""

from __future__ import annotations

import pytest

from sand_dagster.models.cards import cards, memory_in_use
from sand_dagster.models.parallel import DoesNotFit, parallelism, tensor_parallel_sizes
from sand_dagster.models.shape import KNOWN, ModelShape
from sand_dagster.models.vllm_engine import Affinity
from tests.conftest import FakeCards

GB = 10**9
LLAMA = KNOWN["meta-llama/Llama-3.1-8B-Instruct"]
QWEN = KNOWN["Qwen/Qwen2.5-7B-Instruct"]
LARGE = ModelShape(80, 8192, 28672, 64, 8, 128, 128256, tied=False)
"""Llama-3.1-70B."""


def test_parameters_are_those_of_the_models_cards() -> None:
    assert LLAMA.parameters == 8_030_261_248
    assert QWEN.parameters == pytest.approx(7_615_616_512, rel=1e-4), "biases left out"
    assert LARGE.parameters == pytest.approx(70.55e9, rel=1e-3)
    assert LLAMA.cache_bytes_per_token() == 128 * 1024


def test_a_models_heads_and_columns_say_over_how_many_cards_it_can_be_spread() -> None:
    assert tensor_parallel_sizes(LLAMA, 8) == [1, 2, 4, 8]
    heads_alone = QWEN._replace(key_value_heads=28, intermediate=28 * 512)
    assert tensor_parallel_sizes(heads_alone, 8) == [1, 2, 4, 7]
    # Its 4 key-value heads and 18,944 columns cannot be divided by seven.
    assert tensor_parallel_sizes(QWEN, 8) == [1, 2, 4]


@pytest.mark.parametrize("shape", [LLAMA, QWEN])
@pytest.mark.parametrize("cards", [1, 2, 3, 5, 7, 8])
def test_every_card_has_a_copy_of_what_one_holds(shape: ModelShape, cards: int) -> None:
    found = parallelism(shape, 8192, cards, 80 * GB, 0.9)
    assert (found.tensor_parallel_size, found.data_parallel_size) == (1, cards)
    assert found.weights + found.cache < 0.9 * 80 * GB
    assert "idle" not in found.describe(shape, cards)


@pytest.mark.parametrize(("cards", "expected"), [(2, (2, 1)), (4, (4, 1)), (8, (4, 2))])
def test_what_one_card_does_not_hold_is_spread_over_as_few_as_do(
    cards: int, expected: tuple[int, int]
) -> None:
    memory = (141 if cards == 2 else 80) * GB
    found = parallelism(LARGE, 8192, cards, memory, 0.9)
    assert (found.tensor_parallel_size, found.data_parallel_size) == expected


def test_idle_cards_are_named() -> None:
    found = parallelism(LARGE, 8192, 3, 141 * GB, 0.9)
    assert found.cards == 2
    assert "1 stay idle" in found.describe(LARGE, 3)


def test_what_fits_nowhere_is_refused_with_what_it_would_need() -> None:
    with pytest.raises(DoesNotFit, match=r"over 1: 1\d\d GiB each; over 2: .*There are 2 GPUs, with 20 GiB"):
        parallelism(LARGE, 8192, 2, 24 * GB, 0.9)
    with pytest.raises(DoesNotFit, match=r"tensor_parallel_size is 3, but .* over 1 or 2 or 4 of 8 GPUs"):
        parallelism(QWEN, 8192, 8, 80 * GB, 0.9, tensor_parallel_size=3)


def test_what_begins_alike_goes_to_the_same_copy_until_that_is_far_busier() -> None:
    affinity = Affinity(4)
    prompts = [[task] * 200 + [step] for task in range(60) for step in range(3)]
    chosen = [affinity.choose(prompt) for prompt in prompts]
    assert all(len(set(chosen[at : at + 3])) == 1 for at in range(0, len(chosen), 3))
    assert set(chosen) == {0, 1, 2, 3}
    for _ in range(200):
        affinity.load[affinity.choose(prompts[0])] += 1
    assert max(affinity.load) - min(affinity.load) <= 17


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("1", 1), ("", 0), ("GPU-1,GPU-0", 2)])
def test_the_cards_are_those_that_the_process_may_use(
    fake_cards: FakeCards, monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    fake_cards(2)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = cards()
    assert len(found) == count
    assert (
        memory_in_use()
        == {(): 0, ("GPU-0", "GPU-1"): 101, ("GPU-1",): 101}[tuple(card.uuid for card in found)]
    )
    assert all(card.memory == 81559 * 1024**2 and "H100" in card.name for card in found)
