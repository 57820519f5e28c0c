"""An arm of a comparison: one experiment, or several that differ only in their seed, taken together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.evaluation.scores import score
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.experiments.seeds import OWN
from sand_dagster.rows.evaluation import EpisodeRow, ScoreRow

INITIALISATION = "00"
MAY_DIFFER = {*OWN, "iterations"}
"""The fields in which the experiments of an arm may differ."""


class ComparisonError(Exception):
    """A comparison is not possible; the message says why, and what to do."""


class Place(NamedTuple):
    """An episode's place in its arm. Two episodes in the same place of two arms are a pair."""

    experiment: int
    """The place of its experiment in the arm."""
    task_id: str


class Outcome(NamedTuple):
    """The result of an episode."""

    kind: str
    reward: float
    deliberation_rate: float
    """The share of the episode's steps that deliberate (Section 6.4)."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """An arm's episodes of one iteration and split: the scores as in `eval_scores`, and each episode."""

    scores: ScoreRow
    outcomes: Mapping[Place, Outcome]


@dataclass(frozen=True, slots=True)
class Arm:
    """The experiments of the arm; `name` is as the user wrote it."""

    name: str
    experiments: Sequence[Experiment]
    home: Path

    @property
    def seed(self) -> int:
        """The bootstrap's seed: with it, the interval of one experiment is that of its `eval_scores`."""
        return self.experiments[0].seed

    def iterations(self, only: str | None) -> list[str]:
        """Iteration 00 and `only`; without `only`, all that every experiment of the arm has evaluated.

        Raises:
            ComparisonError: one of them is not evaluated.
        """
        needed = sorted({INITIALISATION, only or INITIALISATION})
        for experiment in self.experiments:
            if not set(needed) <= set(experiment.partitions):
                raise ComparisonError(
                    f"{experiment.name} has the iterations {', '.join(experiment.partitions)}; "
                    f"{only!r} is not one of them"
                )
            missing = [k for k in needed if k not in self._store(experiment).iterations("eval_episodes")]
            if missing:
                raise ComparisonError(
                    f"{experiment.name} has no evaluated iteration {missing[0]} yet; "
                    f"`sand run {experiment.name} --until {only or '01'}` makes it"
                )
        if only is not None:
            return needed
        evaluated = [set(self._store(each).iterations("eval_episodes")) for each in self.experiments]
        return sorted(set.intersection(*evaluated))

    def evaluated(self, iteration: str) -> dict[str, Evaluated]:
        """The results of the arm's experiments in `iteration`, by split.

        Raises:
            ArtifactError: an experiment's episodes are not there, or damaged.
        """
        episodes = [
            (Place(number, row.task_id), row)
            for number, experiment in enumerate(self.experiments)
            for row in rows_of(self._store(experiment), EpisodeRow, iteration)
        ]
        splits = sorted({row.split for _, row in episodes})
        return {split: self._summary(split, [e for e in episodes if e[1].split == split]) for split in splits}

    def _summary(self, split: str, episodes: Sequence[tuple[Place, EpisodeRow]]) -> Evaluated:
        rows = [row for _, row in episodes]
        protocol = self.experiments[0].protocol
        return Evaluated(
            score(rows, rows[0].checkpoint_id, split, protocol, self.seed),
            {
                place: Outcome(row.kind, row.reward, row.deliberations / max(len(row.steps), 1))
                for place, row in episodes
            },
        )

    def _store(self, experiment: Experiment) -> ArtifactStore:
        return ArtifactStore(self.home, experiment.name)


def arm_of(name: str, home: Path) -> Arm:
    """The arm `name`: an experiment's name, or several separated by commas.

    Raises:
        ExperimentError: there is no such experiment.
        ComparisonError: they differ in more than their seed, or do not differ in it.
    """
    experiments = [load_experiment(part.strip(), home) for part in name.split(",")]
    first = experiments[0]
    for number, other in enumerate(experiments[1:], start=1):
        ours, theirs = first.model_dump(exclude=MAY_DIFFER), other.model_dump(exclude=MAY_DIFFER)
        if differing := [section for section in ours if ours[section] != theirs[section]]:
            raise ComparisonError(
                f"{first.name} and {other.name} cannot be taken together: they differ in "
                f"{', '.join(differing)}, not only in `seed`. Give them as two arguments"
            )
        if any(other.seed == before.seed for before in experiments[:number]):
            raise ComparisonError(
                f"{name}: {other.name} has the same seed {other.seed} as another one, so its tasks "
                "would count twice; give it another `seed`"
            )
    return Arm(name, experiments, home)
