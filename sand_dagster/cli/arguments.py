"""What several commands take, and how it is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sand_dagster.home import sand_home

if TYPE_CHECKING:
    from sand_dagster.artifacts.store import ArtifactStore
    from sand_dagster.jobs.plan import Planned


def iteration_key(text: str) -> str:
    """`text` as an iteration's key: two digits at least."""
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"an iteration is a number such as 01, found {text!r}")
    return f"{int(text):02d}"


ExperimentName = Annotated[str, typer.Argument(metavar="EXPERIMENT", help="See `sand experiments`.")]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="SEEDS",
        help="With each of these seeds, such as 0-4 or 0,2,5. Each gets an experiment of its own, such as "
        "household-seed-1.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def with_seeds(experiment: str, seeds: str | None) -> list[str]:
    """The experiments of `--seeds`, written if they are not there; without it, the experiment alone.

    Raises:
        ExperimentError: there is no such experiment, or another file has the name of one.
    """
    from sand_dagster.experiments import seeds as of_seeds

    if seeds is None:
        return [experiment]
    try:
        numbers = of_seeds.parse_seeds(seeds)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return of_seeds.with_seeds(experiment, numbers, sand_home())


def store_of(experiment: str) -> ArtifactStore:
    """The experiment's tables, even if the experiment's file is gone.

    Raises:
        ExperimentError: there is neither data nor a file of that name.
    """
    from sand_dagster.artifacts.schemas import TABLES
    from sand_dagster.artifacts.store import ArtifactStore
    from sand_dagster.experiments.loading import ExperimentError, load_experiment

    home = sand_home()
    try:
        store = ArtifactStore(home, experiment)
    except ValueError as error:
        raise ExperimentError(str(error)) from None
    if not any((home / experiment / table).is_dir() for table in TABLES):
        load_experiment(experiment, home)
    return store


def planned(store: ArtifactStore, until: str, *, counted: bool = False) -> list[Planned]:
    """The plan of the experiment whose tables these are.

    It is empty, with a line on stderr, if the experiment's file is gone, cannot be used, or ends earlier.
    """
    from sand_dagster.experiments.loading import ExperimentError, load_experiment
    from sand_dagster.jobs.instance import opened
    from sand_dagster.jobs.plan import plan

    not_compared = "sand: the tables were not compared with the experiment's file"
    try:
        experiment = load_experiment(store.experiment, store.home)
    except ExperimentError as error:
        typer.echo(f"{not_compared}: {error}", err=True)
        return []
    if until not in experiment.partitions:
        typer.echo(f"{not_compared}, which has no iteration {until} now", err=True)
        return []
    if not (store.home / "dagster").is_dir():  # nothing was run here, and reading must not make an instance
        return plan(experiment, store, None, until, counted=counted)
    with opened(store.home) as instance:
        return plan(experiment, store, instance, until, counted=counted)
