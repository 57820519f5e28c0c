"""How sure a figure is: the interval of a mean over tasks, and the test of a mean difference of pairs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

_RESAMPLES = 1000
_RESOLUTION = 1000


def bootstrap_interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of `values`, one a task (at least one)."""
    draw = random.Random(seed)
    means = sorted(sum(draw.choices(values, k=len(values))) / len(values) for _ in range(_RESAMPLES))
    return means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES) - 1]


def sign_flip_p(differences: Sequence[float]) -> float:
    """The two-sided p-value of the paired permutation test (sign-flip test) that the mean difference is 0.

    If it makes no difference which of a pair is which, each difference is as likely with the other sign. The
    sum's distribution over all 2^n assignments of signs is built difference by difference, so that the value
    is exact for any n; rewards count in thousandths.
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
