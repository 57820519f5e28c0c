"""`sand`, the command line: thin commands over the functions that the assets call.

A command imports what it needs when it runs, so that `sand --help` answers at once.
"""

from __future__ import annotations

import typer

from sand_dagster.cli.asking import ask, sql
from sand_dagster.cli.bench import bench
from sand_dagster.cli.cleaning import clean
from sand_dagster.cli.compare import compare
from sand_dagster.cli.data import show, status
from sand_dagster.cli.differing import diff
from sand_dagster.cli.downloads import data
from sand_dagster.cli.estimate import estimate
from sand_dagster.cli.experiments import experiments, plan, run, scores
from sand_dagster.cli.export import export
from sand_dagster.cli.lineage import lineage
from sand_dagster.cli.play import play, replay
from sand_dagster.cli.report import report, view
from sand_dagster.cli.search import search
from sand_dagster.cli.verify import verify

app = typer.Typer(
    name="sand",
    help="SAND: teach a language agent to deliberate over its actions. Everything is kept in $SAND_HOME "
    "(default: .sand).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_READING = (scores, search, compare, show, ask, sql, diff, status)
for command in (
    experiments,
    run,
    plan,
    estimate,
    *_READING,
    report,
    view,
    export,
    verify,
    clean,
    play,
    replay,
):
    app.command()(command)
app.add_typer(bench)
app.add_typer(data)
app.add_typer(lineage)

__all__ = ["app"]
