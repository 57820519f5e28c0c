"""`sand bench scores`: the scores of a finished experiment, what its stages made, and how long they took."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import RenderableType
from rich.table import Table

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.bench.orchestration import seconds_of
from sand_dagster.experiments.experiment import Experiment

_SEARCH = (
    *("split", "mode", "samples", "tasks", "average_reward", "reward_low", "reward_high"),
    *("tokens_per_task", "prompt_tokens_per_task"),
)
_SCORES = (
    *("split", "tasks", "average_reward", "reward_low", "reward_high", "success_rate"),
    *("deliberation_rate", "tokens_per_task", "steps_per_task", "invalid_rate"),
    *("reward_per_step", "deliberation_per_step"),
)


@dataclass(frozen=True, slots=True)
class Iteration:
    """One iteration: its scores by split and by task type, and what its stages made.

    `seconds` is the wall time of the run that completed it, None if it is not recorded in this home.
    `outcomes` counts the steps of D_delib by the outcome of their deliberation, `explorations` the policy's
    own episodes: played, won, and finetuned on. `search` are the scores of test-time search.
    """

    iteration: str
    seconds: float | None
    scores: list[dict[str, Any]]
    by_type: list[dict[str, Any]]
    steps: int
    deliberating_steps: int
    candidates: int
    critiques: dict[str, int]
    outcomes: dict[str, int]
    explorations: dict[str, int]
    search: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Report:
    """All iterations that were evaluated."""

    experiment: str
    iterations: list[Iteration]

    def to_json(self) -> dict[str, Any]:
        """All figures, for a program."""
        return asdict(self)

    def render(self) -> RenderableType:
        """The scores and times, for a person."""
        table = Table(title=f"Scores of {self.experiment}")
        for column in ("iteration", "split", "average reward", "deliberates", "tokens/task", "seconds"):
            table.add_column(column, justify="right")
        for each in self.iterations:
            for score in each.scores:
                table.add_row(
                    *(each.iteration, score["split"], f"{score['average_reward']:.1%}"),
                    *(f"{score['deliberation_rate']:.1%}", f"{score['tokens_per_task']:.0f}"),
                    "" if each.seconds is None else f"{each.seconds:.0f}",
                )
        return table


def collect(home: Path, experiment: Experiment) -> Report:
    """The figures in the tables of `experiment`.

    Raises:
        ValueError: no iteration was evaluated.
    """
    store = ArtifactStore(home, experiment.name)
    found = [_iteration(home, store, experiment, iteration) for iteration in store.iterations("eval_scores")]
    if not found:
        raise ValueError(
            f"experiment {experiment.name} has no scores yet: first `sand run {experiment.name} --until 01`"
        )
    return Report(experiment.name, found)


def _iteration(home: Path, store: ArtifactStore, experiment: Experiment, iteration: str) -> Iteration:
    def rows(table: str) -> list[dict[str, Any]]:
        """The rows of a table; none if the experiment's variant does not have it."""
        return store.read(table, iteration).to_dicts() if iteration in store.iterations(table) else []

    deliberating = [row for row in rows("candidate_actions") if row["deliberates"]]
    steps = rows("deliberation_trajectories")
    explored = rows("explorations")
    used = {id for row in rows("checkpoints") for id in row["step_ids"]}
    return Iteration(
        iteration=iteration,
        seconds=seconds_of(home, experiment, iteration),
        scores=[{name: row[name] for name in _SCORES} for row in rows("eval_scores")],
        by_type=_by_type(store, iteration),
        steps=len(steps),
        deliberating_steps=len({row["step_id"] for row in deliberating}),
        candidates=len(deliberating),
        critiques=dict(Counter(row["outcome"] for row in rows("critiques"))),
        outcomes=dict(Counter(row["outcome"] for row in steps)),
        explorations={
            "played": len(explored),
            "won": sum(row["reward"] >= 1.0 for row in explored),
            "finetuned_on": sum(row["exploration_id"] in used for row in explored),
        },
        search=[{name: row[name] for name in _SEARCH} for row in rows("search_scores")],
    )


def _by_type(store: ArtifactStore, iteration: str) -> list[dict[str, Any]]:
    """Tasks and average reward of each split and task type."""
    episodes = store.scan("eval_episodes", iteration).select("task_id", "split", "reward")
    types = store.scan("tasks", None).select("task_id", type="kind")
    figures = episodes.join(types, on="task_id").group_by("split", "type")
    return (
        figures.agg(tasks=pl.len(), average_reward=pl.col("reward").mean())
        .sort("split", "type")
        .collect()
        .to_dicts()
    )
