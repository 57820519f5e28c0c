"""What a report is about: experiments, and the episodes of their evaluated iterations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.evaluation.scores import score
from sand_dagster.evaluation.statistics import bootstrap_interval
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.rows.evaluation import EpisodeRow, ScoreRow

_NAMES = {
    "full": "SAND",
    "without_sampling": "SAND without sampling",
    "without_critique": "SAND without critique",
    "more_sft": "more SFT",
    "rft": "RFT",
    "eto": "ETO",
}
"""What an iteration after the first is called, by variant; another variant is called by its own name."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The episodes of one split in one iteration, and their scores."""

    subject: Subject
    iteration: str
    split: str
    episodes: Sequence[EpisodeRow]
    scores: ScoreRow

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Experiment, iteration, method and split: the first cells of its rows."""
        return (self.subject.name, self.iteration, self.subject.method(self.iteration), self.split)


@dataclass(frozen=True, eq=False)
class Subject:
    """An experiment of the report; `episodes` are those of each evaluated iteration."""

    experiment: Experiment
    store: ArtifactStore
    episodes: Mapping[str, Sequence[EpisodeRow]]

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.experiment.name

    @property
    def is_base(self) -> bool:
        """Whether its iteration 00 is the base model, not finetuned."""
        return self.experiment.finetuning.epochs == (0,)

    def is_beside(self, other: Subject) -> bool:
        """Whether both play the same tasks with the same base model."""
        ours, theirs = self.experiment, other.experiment
        return (ours.environment, ours.model.base) == (theirs.environment, theirs.model.base)

    def interval(self, values: Sequence[float]) -> tuple[float, float]:
        """The 95 % bootstrap interval of the mean of `values`, one for each task (at least one)."""
        return bootstrap_interval(values, self.experiment.seed)

    def method(self, iteration: str) -> str:
        """What the paper calls the agent of `iteration`: base, SFT, SAND k, or a variant of it."""
        if iteration == "00":
            return "base" if self.is_base else "SFT"
        variant: str = self.experiment.variant
        return f"{_NAMES.get(variant, variant)} {int(iteration)}"

    @cached_property
    def evaluations(self) -> Sequence[Evaluation]:
        """By iteration, then split. The scores are those of `eval_scores`."""
        found = []
        for iteration, episodes in self.episodes.items():
            for split in sorted({episode.split for episode in episodes}):
                chosen = [episode for episode in episodes if episode.split == split]
                checkpoint, protocol = chosen[0].checkpoint_id, self.experiment.protocol
                scores = score(chosen, checkpoint, split, protocol, self.experiment.seed)
                found.append(Evaluation(self, iteration, split, chosen, scores))
        return found


def subjects(names: Sequence[str], home: Path) -> list[Subject]:
    """The experiments `names`, each once, in this order.

    Raises:
        ExperimentError: there is no such experiment.
        ArtifactError: episodes are damaged.
    """
    found = []
    for name in dict.fromkeys(names):
        experiment, store = load_experiment(name, home), ArtifactStore(home, name)
        episodes = {k: list(rows_of(store, EpisodeRow, k)) for k in store.iterations("eval_episodes")}
        # With limits of 0 an iteration evaluates no task: there is nothing to report of it.
        found.append(Subject(experiment, store, {k: rows for k, rows in episodes.items() if rows}))
    return found
