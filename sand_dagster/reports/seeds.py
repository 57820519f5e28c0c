"""Experiments of the report that differ only in their seed, taken together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from sand_dagster.evaluation.arms import MAY_DIFFER
from sand_dagster.evaluation.compare import Row
from sand_dagster.reports.subjects import Subject
from sand_dagster.reports.table import Cell, Column, Table, Unit


@dataclass(frozen=True, slots=True)
class Arm:
    """Two or more experiments that differ only in their seed."""

    members: Sequence[Subject]

    @property
    def name(self) -> str:
        """What the tables call it."""
        return (
            f"{self.members[0].name} (seeds {', '.join(str(each.experiment.seed) for each in self.members)})"
        )

    @property
    def names(self) -> str:
        """As `compare` takes it."""
        return ",".join(each.name for each in self.members)


def arms(subjects: Sequence[Subject]) -> list[Arm]:
    """The arms among `subjects`; an experiment without another seed is in none."""
    groups = defaultdict[str, dict[int, Subject]](dict)
    for subject in subjects:
        if subject.episodes:
            same = subject.experiment.model_dump_json(exclude=MAY_DIFFER)
            groups[same].setdefault(subject.experiment.seed, subject)
    return [Arm(list(group.values())) for group in groups.values() if len(group) > 1]


def table(arms: Sequence[Arm], scores: Sequence[Row]) -> Table | None:
    """The average reward over seeds, and how far the trainings are apart; None: there are no arms.

    `scores` are those of `compare` for each arm.
    """
    if not arms:
        return None
    by_name = {arm.name: arm for arm in arms}
    rows: list[list[Cell]] = []
    for row in scores:
        arm, iteration, split = by_name[row["experiment"]], row["iteration"], row["split"]
        of_seeds = [
            each.scores.average_reward
            for member in arm.members
            for each in member.evaluations
            if (each.iteration, each.split) == (iteration, split)
        ]
        rows.append(
            [
                arm.name,
                iteration,
                arm.members[0].method(iteration),
                split,
                row["tasks"],
                row["average_reward"],
                (row["reward_low"], row["reward_high"]),
                fmean(of_seeds),
                stdev(of_seeds),
                (min(of_seeds), max(of_seeds)),
            ]
        )
    return Table(
        "seeds",
        "Several seeds as one",
        "Experiments that differ only in their seed. The 95 % interval is over episodes, as if the trainings "
        "were the same; mean, standard deviation and range are over seeds, each of which has its own games, "
        "samples and training.",
        (
            *(Column(name) for name in ("experiment", "iteration", "method", "split")),
            Column("episodes", Unit.COUNT),
            Column("average reward", Unit.PERCENT),
            Column("95 % interval", Unit.PERCENT_INTERVAL),
            Column("mean of seeds", Unit.PERCENT),
            Column("standard deviation", Unit.PERCENT),
            Column("range", Unit.PERCENT_INTERVAL),
        ),
        rows,
    )
