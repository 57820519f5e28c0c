"""What a row was made from, what was made from it, and why a score is what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from sand_dagster.cli.arguments import AsJson, iteration_key
from sand_dagster.cli.errors import command
from sand_dagster.cli.output import console, print_json, print_table
from sand_dagster.home import sand_home

if TYPE_CHECKING:
    from typer._click import Command, Context

_TRACE = "trace"


class _Lineage(TyperGroup):
    """`sand lineage EXPERIMENT ID` is `sand lineage trace ID --experiment EXPERIMENT`."""

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, Command | None, list[str]]:
        if args and args[0] not in self.commands and len(args) > 1 and not args[0].startswith("-"):
            args = [_TRACE, *args[1:], "--experiment", args[0]]
        return super().resolve_command(ctx, args)


lineage = typer.Typer(
    name="lineage",
    cls=_Lineage,
    help="What a row was made from, what was made from it, and why a score is what it is. "
    "`sand lineage EXPERIMENT ID` is short for `sand lineage trace ID --experiment EXPERIMENT`.",
    no_args_is_help=True,
)

Id = Annotated[
    str, typer.Argument(metavar="ID", help="The id of a row or a trajectory, or its first letters.")
]
Experiment = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[@RUN]",
        help="Default: the first experiment that has the row. With a run: the tables as it left them.",
    ),
]
Iteration = Annotated[
    str | None, typer.Option(help="If several rows have this id: the one of this iteration.")
]


@lineage.command()
@command
def trace(
    id: Id,
    experiment: Experiment = None,
    iteration: Iteration = None,
    down: Annotated[
        bool,
        typer.Option(
            "--down", "--descendants", help="What was made from it, instead of what it was made from."
        ),
    ] = False,
    width: Annotated[
        int, typer.Option(min=1, help="Rows to show of each branch; the others are counted.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Show what a row was made from, back to expert and base model; with --down what was made from it.

    This goes through all iterations, into the experiments that a control refers to, and into versions of
    tables that were made again since.
    """
    from sand_dagster.artifacts.ancestry import Direction, family, render
    from sand_dagster.audit.locate import locate

    key = iteration_key(iteration) if iteration else None
    found = locate(sand_home(), id, experiment, iteration=key)
    direction: Direction = "descendants" if down else "ancestors"
    tree = family(found.lineage, found.node, direction, width)
    if as_json:
        return print_json(tree.as_json())
    if experiment is None:
        also = f"; also in {', '.join(found.also)} (--experiment)" if found.also else ""
        console().print(f"experiment {found.lineage.experiment}{also}", style="dim", markup=False)
    console().print(render(found.lineage, tree, direction))


@lineage.command()
@command
def why(id: Id, experiment: Experiment = None, iteration: Iteration = None) -> None:
    """Explain an episode or a score: its checkpoint, the checkpoint's training data, and so on back."""
    from sand_dagster.audit.locate import locate
    from sand_dagster.audit.why import why as explain

    key = iteration_key(iteration) if iteration else None
    found = locate(sand_home(), id, experiment, iteration=key)
    for sentence in explain(found.lineage, found.node):
        console().print(sentence, markup=False, soft_wrap=True)


@lineage.command()
@command
def scores(
    id: Id, experiment: Experiment = None, iteration: Iteration = None, as_json: AsJson = False
) -> None:
    """List the scores that used a row: a step, a candidate, a rollout, a task, a trajectory."""
    from sand_dagster.audit.locate import locate
    from sand_dagster.audit.why import scores_of

    key = iteration_key(iteration) if iteration else None
    found = locate(sand_home(), id, experiment, iteration=key)
    used = scores_of(found.lineage, found.node)
    columns = ("split", "tasks", "average_reward", "success_rate")
    searched = ("mode", "samples", *columns)
    values_of = found.lineage.values(used, {"eval_scores": columns, "search_scores": searched})
    if as_json:
        return print_json([{**node._asdict(), **values_of[node]} for node in used])
    rows = [
        [
            node.experiment or found.lineage.experiment,
            node.iteration or "",
            node.id,
            node.version or "now",
            str(values_of[node].get("mode", "plain")),
            str(values_of[node].get("samples", 1)),
            str(values_of[node]["split"]),
            str(values_of[node]["tasks"]),
            f"{values_of[node]['average_reward']:.3f}",
        ]
        for node in used
    ]
    names = (
        *("experiment", "iteration", "score", "version"),
        *("how", "samples", "split", "tasks", "average reward"),
    )
    print_table(f"Scores that used {found.node.table} {found.node.id}", names, rows, right=7)
