"""The resources of the stages: configurable from the UI, and started only when needed."""

import os
from typing import Any, TypeVar

import dagster as dg
from pydantic import ValidationError

from sand_dagster.errors import SettingError
from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.environments import EnvironmentWorkers
from sand_dagster.resources.generation import Generation
from sand_dagster.resources.loop import Loop
from sand_dagster.resources.model_server import ModelServer
from sand_dagster.resources.training import Training

BY_VARIABLES: dict[str, type[dg.ConfigurableResource[None]]] = {
    "environments": EnvironmentWorkers,
    "generation": Generation,
    "model_server": ModelServer,
    "training": Training,
}
"""The resources whose fields can also be set by environment variables; see `configured`."""

PARTS = {"server": ModelServer}
"""Fields that are resources themselves."""

R = TypeVar("R", bound=dg.ConfigurableResource[Any])


def resources() -> dict[str, dg.ConfigurableResource[None]]:
    """All resources by the names that the assets use, with settings from environment variables.

    Raises:
        SettingError: an environment variable does not fit its field.
    """
    return {
        "artifacts": Artifacts(),
        "environments": configured(EnvironmentWorkers),
        "generation": configured(Generation),
        "loop": Loop(),
        "training": configured(Training),
    }


def configured(kind: type[R]) -> R:
    """A resource with the fields that environment variables set, `variable_of` each.

    Raises:
        SettingError: a variable does not fit its field; the message names it.
    """
    fields: dict[str, Any] = {}
    for name in kind.model_fields:
        if name in PARTS:
            fields[name] = configured(PARTS[name])
        elif value := os.environ.get(variable_of(name)):
            fields[name] = value
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        variable = variable_of(str(first["loc"][0]))
        raise SettingError(
            f"the environment variable {variable} is {first['input']!r}: {first['msg']}. Change it, or unset "
            "it"
        ) from None


def variable_of(field: str) -> str:
    """The environment variable for a resource's field: SAND_WORKERS for `workers`."""
    return f"SAND_{field.upper()}"
