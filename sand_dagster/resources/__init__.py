"""The resources: configurable from the UI, lazy, one for each thing that a stage works with."""

import dagster as dg

from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.environments import EnvironmentWorkers
from sand_dagster.resources.generation import Generation
from sand_dagster.resources.training import Training


def resources() -> dict[str, dg.ConfigurableResource[None]]:
    """All resources by the names that the assets ask for."""
    return {
        "artifacts": Artifacts(),
        "environments": EnvironmentWorkers(),
        "generation": Generation(),
        "training": Training(),
    }
