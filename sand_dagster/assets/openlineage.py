"""Whether materialisations are reported as OpenLineage events: where the official client is configured.

Its own environment variables configure it. Without them nothing of it is imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec
from typing import Protocol

import dagster as dg

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets.definition import StageDefinition
from sand_dagster.experiments.experiment import Experiment

_NAMED = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG")
_TRANSPORT = "OPENLINEAGE__TRANSPORT__"
_log = logging.getLogger(__name__)


class Report(Protocol):
    """What is said of one materialisation while it goes on."""

    def started(self, inputs: Mapping[str, Manifest]) -> None:
        """It begins, and reads the partitions whose manifests are `inputs`."""

    def completed(self, made: Manifest) -> None:
        """It is committed."""


class _NoReport:
    def started(self, inputs: Mapping[str, Manifest]) -> None: ...

    def completed(self, made: Manifest) -> None: ...


def configured() -> bool:
    """Whether the client's environment variables name somewhere to send events to."""
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    return any(map(os.environ.get, _NAMED)) or any(name.startswith(_TRANSPORT) for name in os.environ)


def reported(
    context: dg.AssetExecutionContext,
    definition: StageDefinition,
    experiment: Experiment,
    store: ArtifactStore,
    iteration: str | None,
) -> AbstractContextManager[Report]:
    """The report of a materialisation. What is raised inside ends it as failed, and is raised again."""
    if not configured() or not _installed():
        return not_reported()
    from sand_dagster.assets.openlineage_report import reporting

    return reporting(context, definition, experiment, store, iteration)


def not_reported() -> AbstractContextManager[Report]:
    """For what is no materialisation: nothing is reported."""
    return nullcontext(_NoReport())


@cache
def _installed() -> bool:
    """Whether the client is there; if not, that is said once."""
    if find_spec("openlineage") is not None:
        return True
    _log.warning(
        "OpenLineage is configured in the environment, but its client is not installed, so no events are "
        "sent: pip install 'sand-dagster[openlineage]'"
    )
    return False
