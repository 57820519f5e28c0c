"""Freeing space."""

from __future__ import annotations

from typing import Annotated

import typer

from sand_dagster.cli.arguments import AsJson, ExperimentName, store_of
from sand_dagster.cli.errors import command
from sand_dagster.cli.output import console, print_json, print_table


@command
def clean(
    experiment: ExperimentName,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it. Without this it is only shown.")] = False,
    superseded: Annotated[
        bool,
        typer.Option(
            "--superseded", help="Also remove scores that were made again since, and what they need."
        ),
    ] = False,
    journals: Annotated[
        bool,
        typer.Option(
            "--journals",
            help="Also remove the journals of complete partitions: a stage that runs again then repeats its "
            "units, damage cannot be repaired from them, and prompts of turns cannot be checked.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what can be removed, and how much it frees; with --yes, remove it.

    These are earlier versions of tables and checkpoints that no kept score of any experiment in this home
    needs, and files that killed processes left. What a kept score needs is never removed.
    """
    from sand_dagster.audit.cleaning import removals, remove

    store = store_of(experiment)
    found = removals(store.home, experiment, superseded=superseded, journals=journals)
    freed = remove(found) if yes else 0
    if as_json:
        return print_json(
            {
                "removed": yes,
                "bytes": sum(each.bytes for each in found),
                "files": [
                    {"path": str(each.path.relative_to(store.home)), "bytes": each.bytes, "why": each.why}
                    for each in found
                ],
            }
        )
    if not found:
        return console().print("there is nothing to remove")
    rows = [[str(each.path.relative_to(store.home)), each.why, _size(each.bytes)] for each in found]
    print_table(
        f"{'Removed' if yes else 'Can be removed'}: {experiment}",
        ("file or folder", "why", "frees"),
        rows,
        right=2,
    )
    total = _size(freed or sum(each.bytes for each in found))
    console().print(f"{total} freed" if yes else f"{total} in all; --yes removes it")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
