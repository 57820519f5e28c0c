"""Artifacts: `$SAND_HOME` as a Dagster resource."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
from pydantic import Field

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.home import sand_home


class Artifacts(dg.ConfigurableResource[None]):
    """Where the tables, checkpoints and generated games lie."""

    home: str = Field(
        default="", description="the folder that holds everything; empty: $SAND_HOME, else .sand"
    )

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return Path(self.home).absolute() if self.home else sand_home()

    def store(self, experiment: str) -> ArtifactStore:
        """The tables of one experiment."""
        return ArtifactStore(self.path, experiment)
