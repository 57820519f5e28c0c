"""`sand search`: test-time search beside plain evaluation, in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sand_dagster.cli.arguments import AsJson, store_of
from sand_dagster.cli.errors import command, fail
from sand_dagster.cli.output import print_json, print_table

if TYPE_CHECKING:
    from sand_dagster.artifacts.store import ArtifactStore

_COLUMNS = (
    *("experiment", "iteration", "split", "how", "samples"),
    *("average reward", "95 % interval", "tokens/task", "prompt tokens/task"),
)
_PLAIN = "plain"


@command
def search(
    experiment: Annotated[
        list[str], typer.Argument(metavar="EXPERIMENT…", help="Experiments with a section `search`, or none.")
    ],
    as_json: AsJson = False,
) -> None:
    """Print reward beside tokens for plain evaluation and for each mode of test-time search.

    Plain: one sample at the temperature of `evaluation`. Oracle best-of-N: the best of N episodes, as if the
    environment picked it; an upper bound. Vote: the action that most of N samples choose, step by step.
    Of experiments without a section `search` the plain rows are printed.
    """
    rows = [row for name in experiment for row in _rows(store_of(name))]
    if not rows:
        names = ", ".join(experiment)
        fail(f"no iteration of {names} has scores yet; `sand run {experiment[0]} --until 01` makes them")
    if as_json:
        return print_json(rows)
    cells = [
        [
            *(row[name] for name in ("experiment", "iteration", "split", "how")),
            str(row["samples"]),
            f"{row['average_reward']:.3f}",
            f"{row['reward_low']:.3f} to {row['reward_high']:.3f}",
            f"{row['tokens_per_task']:.0f}",
            f"{row['prompt_tokens_per_task']:.0f}",
        ]
        for row in rows
    ]
    print_table("Reward beside tokens", _COLUMNS, cells, right=4)


def _rows(store: ArtifactStore) -> list[dict[str, Any]]:
    """Of every evaluated iteration and split: the plain score, then those of test-time search."""
    from sand_dagster.artifacts.stored_rows import rows_of
    from sand_dagster.rows.evaluation import EpisodeRow, ScoreRow
    from sand_dagster.rows.search import SearchScoreRow

    found: list[dict[str, Any]] = []
    searched = store.iterations("search_scores")
    for iteration in store.iterations("eval_scores"):
        asked: dict[str, list[int]] = {}
        for episode in rows_of(store, EpisodeRow, iteration):
            asked.setdefault(episode.split, []).append(episode.prompt_tokens)
        more = list(rows_of(store, SearchScoreRow, iteration)) if iteration in searched else []
        for score in rows_of(store, ScoreRow, iteration):
            prompts = asked[score.split]
            place = {"experiment": store.experiment, "iteration": iteration, "split": score.split}
            found.append({**place, **_figures(score, _PLAIN, 1, sum(prompts) / len(prompts))})
            found += [
                {**place, **_figures(row, row.mode.value, row.samples, row.prompt_tokens_per_task)}
                for row in more
                if row.split == score.split
            ]
    return found


def _figures(row: Any, how: str, samples: int, prompt_tokens_per_task: float) -> dict[str, Any]:
    return {
        "how": how,
        "samples": samples,
        "tasks": row.tasks,
        "average_reward": row.average_reward,
        "reward_low": row.reward_low,
        "reward_high": row.reward_high,
        "success_rate": row.success_rate,
        "tokens_per_task": row.tokens_per_task,
        "prompt_tokens_per_task": prompt_tokens_per_task,
    }
