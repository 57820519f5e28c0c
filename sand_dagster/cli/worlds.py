"""Which environment a command works in, and with which options."""

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
        help="An installed environment (alfworld, household, scienceworld), or the module of one.",
    ),
]
Like = Annotated[
    str | None, typer.Option(metavar="EXPERIMENT", help="The environment as this experiment has it.")
]
Games = Annotated[
    Path | None,
    typer.Option(
        help="Folder of ALFWorld's published games (train/, valid_seen/, valid_unseen/); without it "
        "$ALFWORLD_DATA/json_2.1.1, else where alfworld-download puts them."
    ),
]


@dataclass(frozen=True, slots=True)
class World:
    """An environment and its options."""

    kind: EnvironmentKind
    options: BaseModel


def world(environment: str | None, experiment: str | None, games: Path | None) -> World:
    """The environment that the options of a command name; exactly one of the first two is given.

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
        # Leaving out what the compiler refuses would mean to compile all games before one is opened.
        values = {"games": games or published_games(), "unsupported": "stock"}
    return World(kind, kind.Options.model_validate(values))


def published_games() -> Path:
    """Where ALFWorld's published games lie on this machine."""
    cache = Path.home() / ".cache"
    data = os.environ.get("ALFWORLD_DATA")
    places = [Path(data).expanduser()] if data else [cache / "alfworld", cache / "sand" / "alfworld"]
    for place in places:
        if (place / "json_2.1.1").is_dir():
            return place / "json_2.1.1"
    looked = ", ".join(str(place / "json_2.1.1") for place in places)
    fail(f"ALFWorld's games are not in {looked}; fetch them with `alfworld-download`, or name --games FOLDER")


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """A line on stderr that counts while long work goes on, and is gone afterwards."""
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda done, total: status.update(f"{what}: {done} of {total}")
