"""`sand compare`: experiments side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sand_dagster.cli.arguments import AsJson, Seeds, iteration_key, with_seeds
from sand_dagster.cli.errors import command, fail
from sand_dagster.cli.output import SCORE_COLUMNS, print_json, print_table, score_cells
from sand_dagster.home import sand_home

if TYPE_CHECKING:
    from sand_dagster.evaluation.compare import Comparison


@command
def compare(
    experiments: Annotated[
        list[str],
        typer.Argument(
            metavar="EXPERIMENT",
            help="The first is compared with each other one. Experiments that differ only in their seed "
            "count as one, written a,b.",
        ),
    ],
    iteration: Annotated[
        str | None, typer.Option(metavar="KK", help="Only this iteration, such as 01. Default: all.")
    ] = None,
    difficulty_by: Annotated[
        str | None,
        typer.Option(
            metavar="EXPERIMENT",
            help="The experiment whose rewards in iteration 00 define difficulty. Default: each one's own.",
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Draw Figure 4 here (.svg, .png or .pdf): how often each third of the tasks deliberates.",
        ),
    ] = None,
    seeds: Seeds = None,
    as_json: AsJson = False,
) -> None:
    """Compare iterations with 00, and an experiment with others, task by task: intervals and p-values."""
    from sand_dagster.evaluation.arms import ComparisonError
    from sand_dagster.evaluation.compare import compare as compare_experiments

    only = iteration_key(iteration) if iteration is not None else None
    judge = ",".join(with_seeds(difficulty_by, seeds)) if difficulty_by else None
    arms = [",".join(with_seeds(each, seeds)) for each in experiments]
    try:
        found = compare_experiments(arms, only, sand_home(), judge)
    except ComparisonError as error:
        fail(str(error))
    if figure is not None:
        from sand_dagster.evaluation.figure4 import draw

        try:
            draw(found.bands, figure)
        except ValueError as error:
            fail(str(error))
    if as_json:
        return print_json(found._asdict())
    _print_scores(found)
    _print_differences(found)
    _print_bands(found)


def _print_scores(found: Comparison) -> None:
    columns = (
        "experiment",
        "iteration",
        "split",
        "protocol",
        *SCORE_COLUMNS,
    )
    rows = [
        [
            row["experiment"],
            row["iteration"],
            row["split"],
            row["protocol"],
            *score_cells(row),
        ]
        for row in found.scores
    ]
    print_table("Scores", columns, rows, right=4)


def _print_differences(found: Comparison) -> None:
    columns = ("experiment", "against", "split", "pairs", "difference", "95 % interval", "p")
    rows = [
        [
            f"{row['experiment']} {row['iteration']}",
            f"{row['against_experiment']} {row['against_iteration']}",
            row["split"],
            str(row["pairs"]),
            f"{100 * row['difference']:+.1f}",
            f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}",
            "< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}",
        ]
        for row in found.differences
    ]
    if rows:
        print_table("Differences over the same tasks, in points of average reward", columns, rows, right=3)


def _print_bands(found: Comparison) -> None:
    place = ("experiment", "iteration", "split", "band")
    columns = (*place, "tasks", "deliberates", "median", "quartiles", "reward")
    rows = [
        [
            *(row[name] for name in place),
            str(row["tasks"]),
            f"{row['deliberation_rate']:.1%}",
            f"{row['deliberation_median']:.1%}",
            " – ".join(f"{quartile:.0%}" for quartile in row["deliberation_quartiles"]),
            f"{row['average_reward']:.1%}",
        ]
        for row in found.bands
    ]
    print_table("By difficulty: thirds of the tasks, by their reward in iteration 00", columns, rows, right=4)
