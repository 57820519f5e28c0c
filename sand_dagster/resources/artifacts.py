"""Artifacts: `$SAND_HOME` as a Dagster resource."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.home import sand_home


class Artifacts(dg.ConfigurableResource[None]):
    """The folder of tables, checkpoints and generated games: `$SAND_HOME`, else `.sand`.

    It cannot be set in the launchpad: after a run in another folder the UI would show tables that are not
    here.
    """

    @property
    def path(self) -> Path:
        """The folder, absolute."""
        return sand_home()

    def store(self, experiment: str) -> ArtifactStore:
        """The tables of one experiment."""
        return ArtifactStore(self.path, experiment)
