"""Every arm's scores, the changes by its iterations, and the first arm against the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from sand_dagster.evaluation.arms import INITIALISATION, Arm, ComparisonError, Evaluated, arm_of
from sand_dagster.evaluation.difficulty import by_band, difficulty
from sand_dagster.evaluation.statistics import bootstrap_interval, sign_flip_p

Row = dict[str, Any]

_SCORES = (
    "split",
    "protocol",
    "tasks",
    "average_reward",
    "reward_low",
    "reward_high",
    "success_rate",
    "deliberation_rate",
    "tokens_per_task",
)


class Comparison(NamedTuple):
    """Rows for people and programs: rewards and rates in [0, 1], differences in [-1, 1]."""

    scores: list[Row]
    """One row for each arm, iteration and split."""
    differences: list[Row]
    """Iteration k against iteration 00 of every arm, then the first arm against each other in iteration k."""
    bands: list[Row]
    """One row for each arm, iteration, split and difficulty band."""


class _Side(NamedTuple):
    """One side of a difference: an arm in an iteration."""

    arm: Arm
    iteration: str
    splits: dict[str, Evaluated]


def compare(
    names: Sequence[str], iteration: str | None, home: Path, difficulty_by: str | None = None
) -> Comparison:
    """Compare the arms `names`, in one iteration or in all that they have.

    Args:
        difficulty_by: the arm whose rewards in iteration 00 define difficulty; without it, each arm's own.

    Raises:
        ExperimentError: there is no such experiment.
        ComparisonError: an iteration is not evaluated, or two arms have no task in common.
        ArtifactError: episodes are damaged.
    """
    arms = [arm_of(name, home) for name in names]
    for other in arms[1:]:
        if len(other.experiments) != len(arms[0].experiments):
            raise ComparisonError(
                f"{arms[0].name} names {len(arms[0].experiments)} experiments, {other.name} "
                f"{len(other.experiments)}: tasks are paired by experiment, so give the same number"
            )
    chosen = [arm.iterations(iteration) for arm in arms]
    if iteration is None and len(chosen[0]) > 1:
        for other in arms[1:]:
            other.iterations(chosen[0][1])  # raises, with what to run, if there is nothing to compare
    sides = [
        [_Side(arm, k, arm.evaluated(k)) for k in found] for arm, found in zip(arms, chosen, strict=True)
    ]
    judge = arm_of(difficulty_by, home).evaluated(INITIALISATION) if difficulty_by else None
    comparison = Comparison([], [], [])
    for own in sides:
        initial = own[0]
        for side in own:
            if iteration in (None, side.iteration):
                comparison.scores.extend(_scores(side))
                comparison.bands.extend(_bands(side, judge or initial.splits))
            if side is not initial:
                comparison.differences.extend(_differences(side, initial))
    for own in sides[1:]:
        for ours in sides[0]:
            theirs = [side for side in own if side.iteration == ours.iteration]
            if theirs and (ours.iteration != INITIALISATION or iteration == INITIALISATION):
                comparison.differences.extend(_differences(ours, theirs[0]))
    return comparison


def _scores(side: _Side) -> list[Row]:
    return [
        {"experiment": side.arm.name, "iteration": side.iteration}
        | {name: getattr(evaluated.scores, name) for name in _SCORES}
        for evaluated in side.splits.values()
    ]


def _differences(side: _Side, against: _Side) -> list[Row]:
    """The difference of the average reward in each split, over the pairs of episodes."""
    rows: list[Row] = []
    for split, ours in side.splits.items():
        theirs = against.splits[split].outcomes if split in against.splits else {}
        pairs = [place for place in ours.outcomes if place in theirs]
        if not pairs:
            continue
        differences = [ours.outcomes[place].reward - theirs[place].reward for place in pairs]
        low, high = bootstrap_interval(differences, side.arm.seed)
        rows.append(
            {
                "experiment": side.arm.name,
                "iteration": side.iteration,
                "against_experiment": against.arm.name,
                "against_iteration": against.iteration,
                "split": split,
                "pairs": len(pairs),
                "difference": fmean(differences),
                "low": low,
                "high": high,
                "p": sign_flip_p(differences),
            }
        )
    if not rows:
        raise ComparisonError(
            f"{side.arm.name} and {against.arm.name} were evaluated on no task in common; "
            "a paired comparison needs the same `environment`"
        )
    return rows


def _bands(side: _Side, judged: dict[str, Evaluated]) -> list[Row]:
    return [
        {"experiment": side.arm.name, "iteration": side.iteration, "split": split, **band}
        for split, evaluated in side.splits.items()
        if split in judged
        for band in by_band(evaluated.outcomes, difficulty(judged[split].outcomes))
    ]
