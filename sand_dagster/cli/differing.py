"""Changes between two iterations, or between the tables after two runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sand_dagster.cli.arguments import AsJson, iteration_key, store_of
from sand_dagster.cli.errors import WRONG_USE, command, fail
from sand_dagster.cli.output import console, print_heading, print_json, print_table
from sand_dagster.home import sand_home

if TYPE_CHECKING:
    from rich.console import Console

    from sand_dagster.audit.differences import Outcomes, TableDifference


@command
def diff(
    first: Annotated[
        str, typer.Argument(metavar="EXPERIMENT[@RUN]", help="An experiment, or one as a run left it.")
    ],
    second: Annotated[
        str, typer.Argument(metavar="TABLE | EXPERIMENT[@RUN]", help="A table, or what to compare it with.")
    ],
    iterations: Annotated[
        list[str] | None, typer.Argument(metavar="[01 02]", help="For a table: the two iterations.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Changes to print of each table.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Show what changed: `sand diff EXPERIMENT TABLE 01 02`, or `sand diff EXPERIMENT@RUN EXPERIMENT@RUN`.

    For rows it shows the texts side by side; for evaluated tasks, which were won and lost. A run is named by
    its id or the first letters of it. Without a run, the current tables are used.
    """
    from sand_dagster.artifacts.schemas import TABLES
    from sand_dagster.audit.differences import compare_iterations, compare_runs
    from sand_dagster.audit.locate import split_run

    outcomes: list[Outcomes] = []
    if second in TABLES:
        if iterations is None or len(iterations) != 2 or not TABLES[second].partitioned:
            fail(
                f"`sand diff {first} TABLE 01 02` needs a table with iterations, and two iterations",
                WRONG_USE,
            )
        before, after = map(iteration_key, iterations)
        differences = [compare_iterations(store_of(first), second, before, after)]
    else:
        places = [split_run(name) for name in (first, second)]
        for name, _ in places:
            store_of(name)
        differences, outcomes = compare_runs(sand_home(), *places)
    if as_json:
        return print_json(
            {
                "tables": [_as_json(each) for each in differences],
                "tasks": [dataclasses.asdict(each) for each in outcomes],
            }
        )
    to = console()
    if not differences:
        to.print("the tables are the same")
    for each in differences:
        _print(to, each, limit)
    for tasks in outcomes:
        _print_tasks(to, tasks, limit)


def _as_json(difference: TableDifference) -> dict[str, Any]:
    values = {name: getattr(difference, name) for name in ("table", "same", "gone", "new", "made")}
    values["changed"] = [dataclasses.asdict(change) for change in difference.changed]
    for side in ("before", "after"):
        manifest = getattr(difference, side)
        values[side] = manifest.model_dump(include={"experiment", "iteration", "content_hash", "run_id"})
    return values


def _print(to: Console, difference: TableDifference, limit: int) -> None:
    before, after = difference.before, difference.after
    where = before.iteration or ""
    if before.iteration != after.iteration:
        where = f"{before.iteration} → {after.iteration}"
    print_heading(f"{difference.table} {where}".strip())
    to.print(
        f"{before.rows} rows of run {before.run_id[:8]} → {after.rows} of run {after.run_id[:8]}: "
        f"{difference.same} the same, {len(difference.changed)} changed, {len(difference.gone)} gone, "
        f"{len(difference.new)} new",
        markup=False,
        soft_wrap=True,
    )
    for line in difference.made:
        to.print(f"  {line}", markup=False, soft_wrap=True)
    for change in difference.changed[:limit]:
        rows = [[column, _text(a), _text(b)] for column, (a, b) in change.columns.items()]
        print_table(change.name, ("column", "before", "after"), rows)
    _more(to, len(difference.changed), limit, "changed")
    for what, names in (("gone", difference.gone), ("new", difference.new)):
        for name in names[:limit]:
            to.print(f"{what}: {name}", markup=False, soft_wrap=True)
        _more(to, len(names), limit, what)


def _print_tasks(to: Console, tasks: Outcomes, limit: int) -> None:
    print_heading(f"evaluated tasks {tasks.iteration or ''}".strip())
    to.print(f"{len(tasks.won)} won, {len(tasks.lost)} lost, {tasks.same} the same")
    for what, listed in (("won", tasks.won), ("lost", tasks.lost)):
        for split, task, before, after in listed[:limit]:
            to.print(f"{what}: {split} {task}: {before:g} → {after:g}", markup=False, soft_wrap=True)
        _more(to, len(listed), limit, what)


def _more(to: Console, count: int, limit: int, what: str) -> None:
    if count > limit:
        to.print(f"… and {count - limit} more {what} (--limit)", style="dim")


def _text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join(" | ".join(str(part) for part in item.values() if part != "") for item in value)
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)
