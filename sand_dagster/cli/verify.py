"""`sand verify`: whether everything is as it was recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from sand_dagster.cli.arguments import AsJson, store_of
from sand_dagster.cli.errors import FAILED, command, fail
from sand_dagster.cli.output import print_json
from sand_dagster.home import sand_home


@command
def verify(
    experiments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[EXPERIMENT]…", help="Default: all that have tables in $SAND_HOME."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compute every recorded hash again: tables, journals, models, and what each was made from.

    Prints one line for each damaged file: what is wrong with it, and what to do. The exit code is then 1.
    If there is none, only stderr says how much was looked at.
    """
    from sand_dagster.artifacts.history import experiments_in
    from sand_dagster.artifacts.verify import Damage, verify
    from sand_dagster.errors import OldLayout

    names = experiments or experiments_in(sand_home())
    if not names:
        fail(f"there are no tables in {sand_home()}; `sand run household --until 01` makes some")
    partitions, damages = 0, list[Damage]()
    for name in names:
        try:
            found = verify(store_of(name))
        except OldLayout as error:
            damages.append(Damage(sand_home() / name, "it was made by an earlier version", str(error)))
            continue
        partitions += found.partitions
        damages += found.damages
    if as_json:
        print_json(
            {
                "partitions": partitions,
                "damages": [{**damage._asdict(), "file": str(damage.file)} for damage in damages],
            }
        )
    elif not damages:
        listed = f"{len(names)} experiment{'s' if len(names) > 1 else ''}"
        # Not on stdout: a script that keeps it keeps only what is wrong.
        typer.echo(f"all is as recorded: {partitions} partitions of {listed}", err=True)
    for damage in damages if not as_json else ():
        typer.echo(str(damage))
    if damages:
        raise typer.Exit(FAILED)
