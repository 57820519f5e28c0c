"""`sand estimate`: the time and space that an experiment needs, before it is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from sand_dagster.cli.arguments import AsJson, ExperimentName, iteration_key
from sand_dagster.cli.errors import FAILED, command, fail
from sand_dagster.cli.output import console, print_json, print_table
from sand_dagster.home import sand_home

if TYPE_CHECKING:
    from sand_dagster.estimate.stages import Estimate

_GB = 10**9


@command
def estimate(
    name: ExperimentName,
    hardware: Annotated[
        str, typer.Option(help="Such as 8xA100, 2x8xA100 for two machines, 2xCPU, or this.")
    ] = "this",
    until: Annotated[
        str | None, typer.Option(metavar="KK", help="The last iteration. Default: the experiment's last.")
    ] = None,
    host_memory: Annotated[
        int | None, typer.Option(min=1, metavar="GIB", help="Memory of each machine. Default: what is usual.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate tokens, hours, memory and disk, stage by stage. Nothing is downloaded or started.

    The exit code is 1 if the experiment does not fit the hardware.
    """
    from dataclasses import asdict

    from sand_dagster.estimate.hardware import UnknownHardware
    from sand_dagster.estimate.hardware import hardware as named
    from sand_dagster.estimate.stages import estimate as estimated
    from sand_dagster.experiments.loading import load_experiment
    from sand_dagster.jobs.run import check_iteration

    home = sand_home()
    experiment = load_experiment(name, home)
    last = iteration_key(until) if until else experiment.partitions[-1]
    check_iteration(experiment, last)
    try:
        found = estimated(
            experiment,
            named(hardware, host_memory),
            last,
            home,
            calibrate=last if hardware == "this" else None,
        )
    except (UnknownHardware, ValueError) as error:
        fail(str(error))
    if as_json:
        print_json(
            {
                **asdict(found),
                "stages": [{**asdict(stage), "gpu_hours": stage.gpu_hours} for stage in found.stages],
                "seconds": found.seconds,
                "gpu_hours": found.gpu_hours,
                "disk": found.disk,
            }
        )
    else:
        _print(found)
    if found.refusals:
        raise typer.Exit(FAILED)


def _print(found: Estimate) -> None:
    rows = [
        [
            each.iteration,
            each.stage,
            f"{each.units:,}",
            f"{each.prefill_tokens:,}",
            f"{each.completion_tokens:,}",
            f"{each.environment_s:,.0f} s",
            _duration(each.seconds),
            *([f"{each.gpu_hours:,.1f}"] if each.gpus else []),
            _size(each.disk),
        ]
        for each in found.stages
    ]
    columns = ["iteration", "stage", "units", "tokens read", "tokens written", "environments", "time"]
    columns += ["GPU hours", "disk"] if found.hardware.gpus else ["disk"]
    print_table(f"Estimate of {found.experiment} on {found.hardware.name}", columns, rows, right=2)
    lines = [
        f"In all: {_duration(found.seconds)}"
        + (f", {found.gpu_hours:,.0f} GPU hours" if found.gpu_hours else "")
        + f", {_size(found.disk)} of disk; {found.parameters:,} parameters.",
        *(f"{part}: {escape(plan)}" for part, plan in found.plans.items()),
        *(f"[red]does not fit:[/red] {part}: {escape(why)}" for part, why in found.refusals.items()),
        *(escape(assumption) for assumption in found.assumptions),
    ]
    for line in lines:
        console().print(line, soft_wrap=True)


def _size(count: int) -> str:
    return f"{count / _GB:.1f} GB" if count >= _GB else f"{count / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
