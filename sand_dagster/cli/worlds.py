"""The environment that a command uses, and its options."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sand_dagster.cli.errors import WRONG_USE, fail
from sand_dagster.home import sand_home

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sand_dagster.environments import EnvironmentKind, Progress

EnvironmentName = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="An environment that is installed, such as household, or an environment's module.",
    ),
]
Like = Annotated[
    str | None, typer.Option(metavar="EXPERIMENT", help="Use the environment section of this experiment.")
]
Games = Annotated[
    Path | None,
    typer.Option(
        help="Folder of ALFWorld's published games (train/, valid_seen/, valid_unseen/). Default: "
        "$ALFWORLD_DATA/json_2.1.1, else the folder of alfworld-download."
    ),
]


@dataclass(frozen=True, slots=True)
class World:
    """An environment and its options."""

    kind: EnvironmentKind
    options: BaseModel


def world(environment: str | None, experiment: str | None, games: Path | None) -> World:
    """The environment that a command's options name; exactly one of the first two is given.

    Raises:
        ExperimentError: there is no such experiment.
    """
    from sand_dagster.environments import environment_kind
    from sand_dagster.experiments.loading import load_experiment

    if experiment is not None:
        section = load_experiment(experiment, sand_home()).environment
        return World(section.module, section.options)
    assert environment is not None
    try:
        kind = environment_kind(environment)
    except ValueError as error:
        fail(str(error), WRONG_USE)
    values: dict[str, object] = {}
    if environment == "alfworld":
        # To leave out the games that the compiler refuses, all would have to be compiled before one is
        # opened.
        values = {"games": games or published_games(), "unsupported": "stock"}
    return World(kind, kind.Options.model_validate(values))


def published_games() -> Path:
    """The folder of ALFWorld's published games on this machine."""
    cache = Path.home() / ".cache"
    data = os.environ.get("ALFWORLD_DATA")
    places = [Path(data).expanduser()] if data else [cache / "alfworld", cache / "sand" / "alfworld"]
    for place in places:
        if (place / "json_2.1.1").is_dir():
            return place / "json_2.1.1"
    looked = ", ".join(str(place / "json_2.1.1") for place in places)
    fail(f"ALFWorld's games are not in {looked}; run `sand data download alfworld`, or give --games FOLDER")


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A line on stderr that counts during long work."""
    from rich.console import Console

    from sand_dagster.moving_line import MovingLine

    with MovingLine(Console(stderr=True), what) as line:
        yield lambda done, total: line.show(f"{what}: {done} of {total}")
