"""Environments: a pool of worker processes as a Dagster resource."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
from pydantic import Field

from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.experiments.experiment import Experiment


class EnvironmentWorkers(dg.ConfigurableResource[None]):
    """How many worker processes play. Each has many games, or one JVM."""

    workers: int = Field(default=0, ge=0, description="processes; 0: one for each core")

    def pool(self, experiment: Experiment, home: Path) -> EnvironmentPool:
        """A pool of the experiment's environment; an async context manager that ends every worker."""
        section = experiment.environment
        return EnvironmentPool(
            section.kind, section.options, home, workers=self.workers or len(os.sched_getaffinity(0))
        )
