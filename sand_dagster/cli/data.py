"""Stored data: rows as text, and which partitions are complete."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sand_dagster.cli.arguments import AsJson, ExperimentName, iteration_key, planned, store_of
from sand_dagster.cli.errors import WRONG_USE, command, fail
from sand_dagster.cli.output import console, print_heading, print_json, print_table


@command
def show(
    experiment: ExperimentName,
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="The table, such as rollouts.")],
    iteration: Annotated[
        str | None, typer.Argument(metavar="ITERATION", help="Such as 01. Default: the last complete one.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows.")] = 5,
    where: Annotated[
        str | None, typer.Option(metavar="ID", help="Only rows that have this id, or name it.")
    ] = None,
    prompt: Annotated[
        bool,
        typer.Option(
            "--prompt", help="The exact text that the model was given, rebuilt and checked against its hash."
        ),
    ] = False,
    turn: Annotated[
        int | None,
        typer.Option(min=1, help="With --prompt: which turn of a rollout or episode. Default: the last."),
    ] = None,
    rendered: Annotated[
        bool, typer.Option("--rendered", help="With --prompt: as the model's chat template writes it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show rows as text: deliberations as the model will see them, rollouts and episodes as transcripts."""
    from sand_dagster.artifacts.lineage import Lineage
    from sand_dagster.artifacts.schemas import TABLES
    from sand_dagster.cli.prompts import print_prompts
    from sand_dagster.cli.reading import Reader, mentions

    if asset not in TABLES:
        fail(f"there is no asset {asset!r}; there are: {', '.join(TABLES)}", WRONG_USE)
    store = store_of(experiment)
    key = iteration_key(iteration) if iteration and TABLES[asset].partitioned else None
    if TABLES[asset].partitioned and key is None:
        key = next(reversed(store.iterations(asset)), "00")
    if where is not None:
        where = Lineage(store.home, experiment).complete(where)
    frame = store.read(asset, key)
    rows = [
        row for row in frame.iter_rows(named=True) if where is None or mentions(TABLES[asset], row, where)
    ]
    if where is not None and not rows:
        fail(f"no row of {asset}{f' in iteration {key}' if key else ''} has or names the id {where!r}")
    if prompt:
        ids = [row[TABLES[asset].key] for row in rows]
        return print_prompts(
            Lineage(store.home, experiment), asset, key, ids[:limit], turn, rendered, as_json
        )
    if as_json:
        return print_json(rows[:limit])
    reader = Reader(store, asset, key)
    to = console()
    for row in rows[:limit]:
        print_heading(reader.title(row))
        to.print(reader.text(row), markup=False, soft_wrap=True)
    print_heading(f"{min(limit, len(rows))} of {len(rows)} rows")


@command
def status(experiment: ExperimentName, as_json: AsJson = False) -> None:
    """List the partitions with their state, and the number of units in the journals of incomplete ones."""
    from sand_dagster.artifacts.partitions import partitions
    from sand_dagster.jobs.plan import few

    store = store_of(experiment)
    listed: list[dict[str, Any]] = [partition._asdict() for partition in partitions(store)]
    last = max((row["iteration"] or "00" for row in listed), default="00")
    why = {(each.stage, each.iteration): each.reasons for each in planned(store, last)}
    for row in listed:
        row["stale"] = list(why.get((row["table"], row["iteration"]), ())) if row["rows"] is not None else []
        if row["state"] == "complete" and row["stale"]:
            row["state"] = "stale"
    if as_json:
        return print_json(listed)
    if not listed:
        fail(f"experiment {experiment} has no data yet; `sand run {experiment} --until 01` makes it")
    rows = [
        [
            row["iteration"] or "",
            row["table"],
            row["state"],
            "" if row["rows"] is None else str(row["rows"]),
            (row["content_hash"] or "")[:12],
            row["created_at"].astimezone().strftime("%Y-%m-%d %H:%M:%S") if row["created_at"] else "",
            row["run_id"] or "",
            str(row["journalled"]),
            few(row["stale"]),
        ]
        for row in listed
    ]
    columns = (
        "iteration",
        "asset",
        "state",
        "rows",
        "content hash",
        "when",
        "run",
        "journalled",
        "why stale",
    )
    print_table(f"Partitions of {experiment}", columns, rows)
