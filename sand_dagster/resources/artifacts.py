"""Artifacts: `$SAND_HOME` as a Dagster resource."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.home import sand_home


class Artifacts(dg.ConfigurableResource[None]):
    """Where the tables, checkpoints and generated games lie: `$SAND_HOME`, else `.sand`.

    Nothing of it can be set in the launchpad: a run elsewhere would leave the UI showing what is not there.
    """

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return sand_home()

    def store(self, experiment: str) -> ArtifactStore:
        """The tables of one experiment."""
        return ArtifactStore(self.path, experiment)
