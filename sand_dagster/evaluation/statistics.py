"""The interval of a mean over tasks, and the test of a mean difference of pairs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

_RESAMPLES = 1000
_RESOLUTION = 1000


def bootstrap_interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of `values`, one for each task (at least one)."""
    draw = random.Random(seed)
    means = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(_RESAMPLES))
    return means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES) - 1]


def sign_flip_p(differences: Sequence[float]) -> float:
    """The two-sided p-value of the paired permutation test (sign-flip test) that the mean difference is 0.

    Under the null hypothesis the two of a pair can be swapped, so both signs of each difference are equally
    likely. The distribution of the sum over all 2^n assignments of signs is built difference by difference,
    so the value is exact for any n. Rewards are rounded to thousandths.
    """
    units = [round(difference * _RESOLUTION) for difference in differences]
    unit = math.gcd(*units)
    if not unit:
        return 1.0
    observed = abs(sum(units)) // unit
    if not observed:
        return 1.0
    reach = sum(map(abs, units)) // unit
    chances = np.zeros(2 * reach + 1)  # of the sums -reach .. reach
    chances[reach] = 1.0
    for size in (abs(value) // unit for value in units):
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    return float(2 * chances[reach + observed :].sum())
