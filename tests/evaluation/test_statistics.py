import random
from itertools import product

import pytest

from sand_dagster.evaluation.statistics import bootstrap_interval, sign_flip_p


def test_the_interval_holds_the_mean_and_narrows_with_tasks() -> None:
    few, many = [0.0, 1.0] * 10, [0.0, 1.0] * 200
    low, high = bootstrap_interval(few, 0)
    assert low < 0.5 < high
    assert bootstrap_interval(few, 0) == (low, high)
    narrow = bootstrap_interval(many, 0)
    assert narrow[1] - narrow[0] < (high - low) / 2
    assert bootstrap_interval([1.0] * 5, 0) == (1.0, 1.0)
    assert pytest.approx(0.5, abs=0.05) == sum(narrow) / 2


def _enumerated(differences: list[float]) -> float:
    """The share of all assignments of signs whose sum is as far from 0."""
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(value >= observed - 1e-9 for value in sums) / len(sums)


@pytest.mark.parametrize("rewards", [(0.0, 1.0), (0.0, 0.07, 0.5, 0.83, 1.0)])
@pytest.mark.parametrize("seed", range(4))
def test_the_p_value_is_that_of_all_assignments_of_signs(rewards: tuple[float, ...], seed: int) -> None:
    draw = random.Random(seed)
    differences = [draw.choice(rewards) - draw.choice(rewards) for _ in range(11)]
    assert sign_flip_p(differences) == pytest.approx(_enumerated(differences))
    assert sign_flip_p([-d for d in differences]) == sign_flip_p(differences)


def test_the_p_value_of_rewards_of_0_or_1_is_the_sign_tests() -> None:
    assert sign_flip_p([1.0] * 6 + [0.0] * 30) == pytest.approx(2 / 2**6)
    assert sign_flip_p([1.0, -1.0, 0.0]) == sign_flip_p([0.0] * 3) == sign_flip_p([]) == 1.0
    assert sign_flip_p([0.25] * 400) < 1e-100
