"""Where a row came from, and what came of it."""

from __future__ import annotations

from typing import Annotated

import typer

from sand_dagster.cli.arguments import AsJson, ExperimentName, iteration_key, store_of
from sand_dagster.cli.errors import command
from sand_dagster.cli.output import console, print_json


@command
def lineage(
    experiment: ExperimentName,
    id: Annotated[str, typer.Argument(metavar="ID", help="A row's id, of any table.")],
    iteration: Annotated[
        str | None, typer.Option(help="Of several rows with this id, the one of this iteration.")
    ] = None,
    descendants: Annotated[
        bool, typer.Option("--descendants", help="What came of it, instead of where it came from.")
    ] = False,
    width: Annotated[
        int, typer.Option(min=1, help="Rows to open of each branch; the others are counted.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Show where a row came from, through all iterations, down to tasks, expert steps and base model."""
    from sand_dagster.artifacts.ancestry import Direction, family, render
    from sand_dagster.artifacts.lineage import Lineage

    tables = Lineage(store_of(experiment).home, experiment)
    node = tables.node(id, iteration=iteration_key(iteration) if iteration else None)
    direction: Direction = "descendants" if descendants else "ancestors"
    tree = family(tables, node, direction, width)
    if as_json:
        print_json(tree.as_json())
    else:
        console().print(render(tables, tree, direction))
