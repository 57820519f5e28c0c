"""The report: written into a folder, or served while a run is under way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sand_dagster.cli.arguments import Seeds, store_of, with_seeds
from sand_dagster.cli.errors import command, fail
from sand_dagster.cli.output import console
from sand_dagster.home import sand_home
from sand_dagster.reports.places import PORT, SUMMARY, address, report_folder

_Experiments = Annotated[
    list[str],
    typer.Argument(metavar="EXPERIMENT", help="The first is compared with each other one."),
]


@command
def report(
    experiments: _Experiments,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="A new or empty folder, or an earlier report. Default, for one experiment: "
            "$SAND_HOME/reports/EXPERIMENT.",
        ),
    ] = None,
    seeds: Seeds = None,
) -> None:
    """Write a report: tables, figures, and a reader of every episode and demonstration.

    FOLDER/index.html opens in a browser, without a server. Beside it every table is CSV and Markdown.
    """
    from sand_dagster.reports.writing import NotAReport, write_report

    experiments = _all(experiments, seeds)
    if out is None and len(experiments) > 1:
        fail("a report of several experiments needs `--out FOLDER`")
    folder = out or report_folder(sand_home(), store_of(experiments[0]).experiment)
    try:
        page = write_report(experiments, folder, sand_home())
    except NotAReport as error:
        fail(str(error))
    console().print(f"{page}\n{folder / SUMMARY}", markup=False, soft_wrap=True)


def _all(experiments: list[str], seeds: str | None) -> list[str]:
    """The experiments, each with every seed."""
    return [name for each in experiments for name in with_seeds(each, seeds)]


@command
def view(
    experiments: _Experiments,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the page, on 127.0.0.1; 0: a free one.")
    ] = PORT,
    seeds: Seeds = None,
) -> None:
    """Serve the report on loopback, also while a run is under way: a reload shows what is new."""
    import tempfile

    from sand_dagster.reports.viewing import Live, server

    experiments = _all(experiments, seeds)
    for name in experiments:
        store_of(name)
    with tempfile.TemporaryDirectory(prefix="sand-view-") as folder:
        live = Live(experiments, Path(folder) / "report", sand_home())
        live.refresh()
        try:
            serving = server(live, port)
        except OSError as error:
            fail(f"port {port} of 127.0.0.1 cannot be used ({error.strerror}); give another one with --port")
        with serving:
            console().print(f"{address(serving.server_port, experiments)}  (Ctrl+C ends it)", markup=False)
            try:
                serving.serve_forever()
            except KeyboardInterrupt:
                console().print("ended")
