"""Paired tests between iterations and experiments, and deliberation by difficulty (Figure 4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sand_dagster.evaluation.arms import INITIALISATION, ComparisonError
from sand_dagster.evaluation.compare import Row, compare
from sand_dagster.reports.seeds import Arm, arms
from sand_dagster.reports.subjects import Subject
from sand_dagster.reports.table import Column, Table, Unit


class Compared(NamedTuple):
    """Differences and difficulty bands, as `compare` gives them, and why a comparison was left out."""

    differences: list[Row]
    bands: list[Row]
    left_out: list[str]
    arms: list[Arm]
    over_seeds: list[Row]
    """The scores of `arms`."""


def compared(subjects: Sequence[Subject], home: Path) -> Compared:
    """Every experiment's iterations against its iteration 00, and the first experiment against each other.

    Experiments that differ only in their seed are also compared as one. As in the paper, the rewards of the
    base model define difficulty, if an experiment among `subjects` evaluated it; else each experiment's own
    in iteration 00.

    Raises:
        ArtifactError: episodes are damaged.
    """
    found = Compared([], [], [], arms(subjects), [])
    for number, subject in enumerate(subjects):
        if not subject.episodes:
            found.left_out.append(f"{subject.name} has no evaluated iteration yet")
            continue
        try:
            judge = _judge(subject, subjects).name
            alone = compare([subject.name], None, home, judge)
            found.differences.extend(alone.differences)
            found.bands.extend({**band, "difficulty_by": f"{judge} {INITIALISATION}"} for band in alone.bands)
            if number:
                both = compare([subjects[0].name, subject.name], None, home)
                found.differences.extend(_between(both.differences))
        except ComparisonError as error:
            found.left_out.append(str(error))
    for number, arm in enumerate(found.arms):
        try:
            alone = compare([arm.names], None, home)
            found.over_seeds.extend(_named(alone.scores, arm))
            found.differences.extend(_named(alone.differences, arm))
            if number:
                both = compare([found.arms[0].names, arm.names], None, home)
                found.differences.extend(_named(_between(both.differences), found.arms[0], arm))
        except ComparisonError as error:
            found.left_out.append(str(error))
    return found


def _judge(subject: Subject, among: Sequence[Subject]) -> Subject:
    """Whose rewards in iteration 00 define the difficulty of the subject's tasks."""
    base = (other for other in among if other.is_base and other.episodes and subject.is_beside(other))
    return next(base, subject)


def _named(rows: Iterable[Row], *arms: Arm) -> Iterator[Row]:
    """The rows with the arms' names in place of their members'."""
    names = {arm.names: arm.name for arm in arms}
    for row in rows:
        yield {
            key: names.get(value, value) if isinstance(value, str) else value for key, value in row.items()
        }


def _between(differences: Sequence[Row]) -> Iterator[Row]:
    return (row for row in differences if row["experiment"] != row["against_experiment"])


def paired_tests(found: Compared) -> Table:
    """The differences as a table."""
    left_out = "".join(f" Left out: {reason}." for reason in found.left_out)
    return Table(
        "paired-tests",
        "Paired tests",
        "Differences of the average reward over the same tasks, in points, with 95 % bootstrap intervals. "
        f"p: exact two-sided permutation test; it is not corrected for the number of tests.{left_out}",
        (
            Column("experiment"),
            Column("against"),
            Column("split"),
            Column("pairs", Unit.COUNT),
            Column("difference", Unit.POINTS),
            Column("95 % interval", Unit.POINTS_INTERVAL),
            Column("p", Unit.P_VALUE),
        ),
        [
            [
                f"{row['experiment']} {row['iteration']}",
                f"{row['against_experiment']} {row['against_iteration']}",
                row["split"],
                row["pairs"],
                row["difference"],
                (row["low"], row["high"]),
                row["p"],
            ]
            for row in found.differences
        ],
    )


def figure4(found: Compared) -> Table:
    """Deliberation rates by difficulty band."""
    return Table(
        "figure-4",
        "Deliberation by difficulty (Figure 4)",
        "Thirds of a split's tasks, ordered by their reward in the iteration that `difficulty by` names: the "
        "base model's, as in the paper, if it is in the report (equal rewards: by the average of their "
        "type). A task's rate is the share of its steps that deliberate.",
        (
            Column("experiment"),
            Column("iteration"),
            Column("split"),
            Column("band"),
            Column("difficulty by"),
            Column("tasks", Unit.COUNT),
            Column("deliberates", Unit.PERCENT),
            Column("median", Unit.PERCENT),
            Column("quartiles", Unit.PERCENT_INTERVAL),
            Column("average reward", Unit.PERCENT),
        ),
        [
            [
                row["experiment"],
                row["iteration"],
                row["split"],
                row["band"],
                row["difficulty_by"],
                row["tasks"],
                row["deliberation_rate"],
                row["deliberation_median"],
                (row["deliberation_quartiles"][0], row["deliberation_quartiles"][1]),
                row["average_reward"],
            ]
            for row in found.bands
        ],
    )
