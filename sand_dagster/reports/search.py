"""Test-time search beside one sample a step (Table 5), of experiments that search."""

from __future__ import annotations

from collections.abc import Sequence

from sand_dagster.evaluation.published import best_of_sand
from sand_dagster.reports.subjects import Subject
from sand_dagster.reports.table import Cell, Column, Table, Unit

_SEARCHED = "search_scores"


def table5(subjects: Sequence[Subject]) -> Table | None:
    """Reward beside tokens for one sample and for every search; None if no experiment searched.

    Raises:
        ArtifactError: a table is damaged.
    """
    rows: list[list[Cell]] = []
    for subject in subjects:
        searched = subject.store.iterations(_SEARCHED)
        for each in subject.evaluations:
            if each.iteration not in searched:
                continue
            interval = (each.scores.reward_low, each.scores.reward_high)
            tokens = each.scores.tokens_per_task
            rows.append([*each.place, "none", 1, each.scores.average_reward, interval, tokens, 1.0])
            scores = subject.store.read(_SEARCHED, each.iteration).filter(split=each.split)
            rows.extend(
                [
                    *each.place,
                    row["mode"],
                    row["samples"],
                    row["average_reward"],
                    (row["reward_low"], row["reward_high"]),
                    row["tokens_per_task"],
                    row["tokens_per_task"] / tokens if tokens else None,
                ]
                for row in scores.iter_rows(named=True)
            )
    if not rows:
        return None
    return Table(
        "table-5",
        "Test-time search (Table 5)",
        "Reward beside completion tokens. Search none is the evaluation itself: one sample a step, "
        "temperature 0. The factor is relative to it. An oracle knows the rewards, so its row is a bound and "
        f"no method. The paper's own row, SAND at one sample with 8 B: {best_of_sand('webshop_unseen')} % in "
        f"WebShop, {best_of_sand('alfworld_unseen')} % in ALFWorld (unseen), "
        f"{best_of_sand('scienceworld_unseen')} % in ScienceWorld (unseen).",
        (
            *(Column(name) for name in ("experiment", "iteration", "method", "split", "search")),
            Column("samples", Unit.COUNT),
            Column("average reward", Unit.PERCENT),
            Column("95 % interval", Unit.PERCENT_INTERVAL),
            Column("tokens a task", Unit.DECIMAL),
            Column("relative to one", Unit.FACTOR),
        ),
        rows,
    )
