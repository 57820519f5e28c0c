"""Queries over the tables: SQL, and named questions in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sand_dagster.cli.arguments import AsJson, ExperimentName, store_of
from sand_dagster.cli.errors import WRONG_USE, command, fail
from sand_dagster.cli.output import console, print_json, print_table
from sand_dagster.home import sand_home

if TYPE_CHECKING:
    import polars as pl

    from sand_dagster.artifacts.sql import Database

_SHOWN_ROWS = 100
_LIST_ITEMS, _ITEM_WIDTH, _CELL_WIDTH = 4, 40, 160

Seconds = Annotated[float, typer.Option(min=0.001, help="How long the query may take.")]
Memory = Annotated[str, typer.Option(metavar="SIZE", help="How much memory it may take, such as 2GB.")]


@command
def sql(
    experiment: ExperimentName,
    query: Annotated[
        str, typer.Argument(metavar="SELECT", help="One SELECT over the tables, in DuckDB's SQL.")
    ],
    seconds: Seconds = 60.0,
    memory: Memory = "2GB",
    as_json: AsJson = False,
) -> None:
    """Query the experiment's tables in SQL. EXPERIMENT may be EXPERIMENT@RUN: the tables after that run.

    Every table is a view, with a column `iteration`. There are also the views `links` (which row names
    which), `left_out` (what was not used, and why), `manifests` and `inputs` (every version of every table),
    `runs` and `events` (Dagster's). Another experiment's tables: `"household-base".rollouts`; those of all:
    `everywhere.rollouts`. To see what a column holds: `SELECT column_name, comment FROM duckdb_columns()
    WHERE table_name = 'rollouts'`.
    """
    _print(_database(experiment, seconds, memory).query(query), as_json)


@command
def ask(
    experiment: Annotated[
        str | None, typer.Argument(metavar="EXPERIMENT", help="Without it, the questions are listed.")
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="QUESTION", help="Which question.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter's value. May be repeated."),
    ] = None,
    show_sql: Annotated[bool, typer.Option("--sql", help="Only print the question's SQL.")] = False,
    seconds: Seconds = 60.0,
    memory: Memory = "2GB",
    as_json: AsJson = False,
) -> None:
    """Answer a named question, or list the questions. Put your own into $SAND_HOME/questions, as NAME.sql.

    A file starts with a comment: a title, a description, and a line for each parameter
    (`-- $times = 2: the fewest times`). Then comes one SELECT, as for `sand sql`.
    """
    from sand_dagster.audit.asking import ask as answer
    from sand_dagster.audit.asking import questions

    there = questions(sand_home())
    if experiment is None or name is None:
        if as_json:
            listed = [
                {**q._asdict(), "parameters": {n: p._asdict() for n, p in q.parameters.items()}}
                for q in there.values()
            ]
            return print_json(listed)
        rows = [
            [q.name + (" (yours)" if q.own else ""), f"{q.title}. {q.description}", _parameters(q)]
            for q in there.values()
        ]
        return print_table(
            "Questions: sand ask EXPERIMENT QUESTION", ("question", "what it answers", "--set"), rows
        )
    if name not in there:
        fail(f"there is no question {name!r}; there are: {', '.join(there)}", WRONG_USE)
    question = there[name]
    if show_sql:
        return console().print(question.sql, markup=False, soft_wrap=True)
    given = dict(_split(value) for value in values or ())
    frame = answer(_database(experiment, seconds, memory), question, given)
    if not as_json:
        console().print(
            f"{question.title}. {question.description}", markup=False, soft_wrap=True, style="dim"
        )
    _print(frame, as_json)


def _database(experiment: str, seconds: float, memory: str) -> Database:
    from sand_dagster.artifacts.sql import Database
    from sand_dagster.audit.locate import split_run
    from sand_dagster.audit.runs import extras

    name, run = split_run(experiment)
    home = store_of(name).home
    return Database(home, name, run, seconds=seconds, memory=memory, extras=extras(home))


def _print(frame: pl.DataFrame, as_json: bool) -> None:
    if as_json:
        return print_json(frame.to_dicts())
    rows = [[_cell(value) for value in row] for row in frame.head(_SHOWN_ROWS).iter_rows()]
    print_table(f"{frame.height} rows", frame.columns, rows)
    if frame.height > _SHOWN_ROWS:
        console().print(f"the first {_SHOWN_ROWS} of {frame.height} rows; --json prints all")


def _cell(value: Any) -> str:
    """A value on one line; for lists, the first few items and their number."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        items = "; ".join(_short(_cell(item), _ITEM_WIDTH) for item in value[:_LIST_ITEMS])
        return f"{len(value)}: {items}{'; …' if len(value) > _LIST_ITEMS else ''}" if value else "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(_cell(item), _ITEM_WIDTH)}" for name, item in value.items())
    return _short(" ".join(str(value).split()), _CELL_WIDTH)


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _parameters(question: Any) -> str:
    return "\n".join(
        f"{name}={p.default}" if not isinstance(p.default, str) or len(p.default) < 20 else name
        for name, p in question.parameters.items()
    )


def _split(value: str) -> tuple[str, str]:
    name, equals, text = value.partition("=")
    if not equals:
        raise typer.BadParameter(f"--set takes NAME=VALUE, found {value!r}")
    return name, text
