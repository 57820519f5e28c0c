"""Deliberation by difficulty (Section 6.4, Figure 4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

import numpy as np

from sand_dagster.evaluation.arms import Outcome, Place

BANDS = ("hard", "medium", "easy")


def difficulty(initial: Mapping[Place, Outcome]) -> dict[str, str]:
    """The band of every task: its tertile in the order of the rewards in `initial`, the lowest first.

    The paper orders by the rewards of the base model. With rewards of 0 or 1 most tasks are equal; equal
    tasks are ordered by the average reward of their type.
    """
    of_task, of_kind = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    kinds: dict[str, str] = {}
    for place, outcome in initial.items():
        kinds[place.task_id] = outcome.kind
        of_task[place.task_id].append(outcome.reward)
        of_kind[outcome.kind].append(outcome.reward)
    ordered = sorted(kinds, key=lambda task: (fmean(of_task[task]), fmean(of_kind[kinds[task]]), task))
    return {task: BANDS[rank * len(BANDS) // len(ordered)] for rank, task in enumerate(ordered)}


def by_band(outcomes: Mapping[Place, Outcome], band_of: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """For every band with tasks: the distribution of its deliberation rates, and the average reward.

    Rates and rewards are in [0, 1]; `deliberation_rates` has one for each episode, in rising order.
    """
    for band in BANDS:
        chosen = [outcome for place, outcome in outcomes.items() if band_of.get(place.task_id) == band]
        if chosen:
            rates = sorted(outcome.deliberation_rate for outcome in chosen)
            low, median, high = np.quantile(rates, (0.25, 0.5, 0.75)).tolist()
            yield {
                "band": band,
                "tasks": len(chosen),
                "deliberation_rate": fmean(rates),
                "deliberation_median": median,
                "deliberation_quartiles": [low, high],
                "deliberation_rates": rates,
                "average_reward": fmean(outcome.reward for outcome in chosen),
            }
