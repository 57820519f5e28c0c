"""`sand bench`: measurements of what the project claims."""

from __future__ import annotations

from typing import Annotated

import typer

from sand_dagster.cli.arguments import AsJson
from sand_dagster.cli.errors import FAILED, command, fail
from sand_dagster.cli.output import console, print_json
from sand_dagster.cli.worlds import Games, progress, published_games

bench = typer.Typer(name="bench", help="Measure what the project claims.", no_args_is_help=True)


@bench.command()
@command
def environments(
    games: Games = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many games; all without it.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the games and the random walks.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Compare the fast ALFWorld engine with the stock one, text for text, and time both.

    The exit code is 1 where they differ.
    """
    from sand_dagster.bench.environments import run

    try:
        with progress("comparing games") as told:
            report = run(games or published_games(), limit, seed, told)
    except ValueError as error:
        fail(str(error))
    if as_json:
        print_json(report.to_json())
    else:
        console().print(report.render())
    if report.differences:
        raise typer.Exit(FAILED)
