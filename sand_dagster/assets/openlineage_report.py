"""The OpenLineage events of one materialisation, as it goes on.

Whatever goes wrong with them is said once, and neither fails nor holds up the stage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from openlineage.client.event_v2 import RunState

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets.definition import StageDefinition
from sand_dagster.assets.openlineage_events import Subject, event
from sand_dagster.assets.openlineage_sender import sender
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.models.answers import without_key

_NAMESPACE, _DEFAULT_NAMESPACE = "OPENLINEAGE_NAMESPACE", "sand"


class _Report:
    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._inputs: Mapping[str, Manifest] = {}
        self._states: list[RunState] = []

    def started(self, inputs: Mapping[str, Manifest]) -> None:
        self._inputs = inputs
        self._send(RunState.START)

    def completed(self, made: Manifest) -> None:
        self._send(RunState.COMPLETE, made)

    def failed(self, error: BaseException) -> None:
        """It ended without a commit, or was cancelled."""
        if RunState.COMPLETE in self._states:
            return
        if not self._states:
            self.started({})
        aborted = isinstance(error, (KeyboardInterrupt, DagsterExecutionInterruptedError))
        said = error.description if isinstance(error, dg.Failure) else None
        state = RunState.ABORT if aborted else RunState.FAIL
        self._send(state, error=_without_keys(said or str(error), self._subject.experiment))

    def _send(self, state: RunState, made: Manifest | None = None, error: str = "") -> None:
        self._states.append(state)
        try:
            sender().send(event(self._subject, state, self._inputs, made, error))
        except Exception as problem:  # a report is not worth a stage
            sender().warn(f"one could not be made ({type(problem).__name__}: {problem})")


@contextmanager
def reporting(
    context: dg.AssetExecutionContext,
    definition: StageDefinition,
    experiment: Experiment,
    store: ArtifactStore,
    iteration: str | None,
) -> Iterator[_Report]:
    """As `openlineage.reported`, with the client."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    report = _Report(
        Subject(
            namespace=os.environ.get(_NAMESPACE) or _DEFAULT_NAMESPACE,
            definition=definition,
            experiment=experiment,
            store=store,
            iteration=iteration,
            run_id=context.run.run_id,
            dagster_job=context.run.job_name,
            launched=record.create_timestamp.astimezone(UTC) if record else datetime.now(UTC),
        )
    )
    try:
        yield report
    except BaseException as error:
        report.failed(error)
        raise
    finally:
        if said := sender().unread():
            context.log.warning(said)


def _without_keys(text: str, experiment: Experiment) -> str:
    """`text` without the values of the variables that hold keys."""
    endpoints = (experiment.generation.base, experiment.generation.policy)
    for name in ("OPENLINEAGE_API_KEY", *(each.key_variable for each in endpoints if each)):
        text = without_key(text, os.environ.get(name))
    return text
