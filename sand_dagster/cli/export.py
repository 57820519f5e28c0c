"""`sand export`: what an iteration made, for other tools to use."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sand_dagster.cli.arguments import ExperimentName, iteration_key, store_of
from sand_dagster.cli.errors import WRONG_USE, command_that_keeps, fail


class Format(StrEnum):
    """What is written."""

    ETO = "eto"
    MESSAGES = "messages"
    HF = "hf"
    MODEL = "model"
    INSPECT = "inspect"


class Trajectories(StrEnum):
    """Which trajectories of an iteration."""

    EXPERT = "expert_trajectories"
    DELIBERATION = "deliberation_trajectories"


@command_that_keeps("Nothing was left at the destination: give the command again to export.")
def export(
    experiment: ExperimentName,
    iteration: Annotated[str, typer.Argument(metavar="ITERATION", help="Such as 01.")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH", help="Where to; nothing may be there. A file for eto and messages, else a folder."
        ),
    ],
    format: Annotated[
        Format | None,
        typer.Option(
            help="eto: trajectories as ETO's JSON. messages: the same as JSON lines of chats. hf: the same "
            "as a Hugging Face dataset (Parquet and a card). model: the checkpoint with a card. inspect: the "
            "evaluation's episodes as logs for `inspect view`."
        ),
    ] = None,
    inspect: Annotated[bool, typer.Option("--inspect", help="The same as --format inspect.")] = False,
    table: Annotated[
        Trajectories | None,
        typer.Option(
            help="For eto, messages and hf: what the iteration started with (D_exp), or what its agent was "
            "finetuned on (D_delib, the default)."
        ),
    ] = None,
) -> None:
    """Write an iteration's trajectories, episodes or checkpoint for other tools.

    Everything is written completely or not at all. Trajectories can be imported again: name the file or
    folder in an experiment's `environment.experts`.
    """
    from sand_dagster.exports.destination import export_to

    format = format or (Format.INSPECT if inspect else None)
    if format is None:
        fail(f"say what to write: --format {', '.join(Format)}", WRONG_USE)
    if inspect and format is not Format.INSPECT:
        fail(f"--inspect and --format {format.value} are two things to write; give one", WRONG_USE)
    key, store, out = iteration_key(iteration), store_of(experiment), out.expanduser()
    if table is not None and format in (Format.MODEL, Format.INSPECT):
        fail(f"--table belongs to trajectories; --format {format.value} has none", WRONG_USE)
    if format is Format.MODEL:
        from sand_dagster.exports.checkpoint import write_checkpoint

        size = export_to(out, lambda path: write_checkpoint(path, store, key))
        return typer.echo(f"{out}: the checkpoint of {experiment} {key}, {size / 1e6:,.0f} MB, with a card")
    from sand_dagster.experiments.loading import load_experiment

    domain = load_experiment(experiment, store.home).environment.module.DOMAIN
    if format is Format.INSPECT:
        from sand_dagster.exports.inspect_log import write_inspect_logs

        episodes = export_to(out, lambda path: write_inspect_logs(path, store, domain, key))
        return typer.echo(
            f"{out}: {episodes} episodes of {experiment} {key}. To read them: inspect view --log-dir {out}"
        )
    from sand_dagster.exports.dataset import write_dataset
    from sand_dagster.exports.records import Turns, write_json, write_json_lines
    from sand_dagster.exports.trajectories import trajectory_rows
    from sand_dagster.rows.steps import DeliberationRow, DemonstrationRow

    kind = DemonstrationRow if table is Trajectories.EXPERT else DeliberationRow
    turns: Turns = "conversations" if format is Format.ETO else "messages"
    rows = trajectory_rows(store, domain, kind, key, turns)
    if format is Format.HF:
        export_to(out, lambda path: write_dataset(path, store, kind, key, rows))
    else:
        write = write_json if format is Format.ETO else write_json_lines
        export_to(out, lambda path: write(path, rows))
    steps = sum(len(row["steps"]) for row in rows)
    typer.echo(f"{out}: {len(rows)} trajectories of {experiment} {kind.table} {key}, {steps} steps")
