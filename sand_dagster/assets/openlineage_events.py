"""A stage's materialisation as OpenLineage run events.

A dataset is a table. Which partition of it was read or written is its facet `subset`, and the content hash
is its `version`: so Marquez, which draws datasets and jobs by name, draws the loop.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5

from openlineage.client import facet_v2 as facets
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import base_subset_dataset as subset
from openlineage.client.facet_v2 import column_lineage_dataset as columns

from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.schemas import TABLES, Table
from sand_dagster.artifacts.store import DATA, ArtifactStore
from sand_dagster.assets.definition import Source, StageDefinition
from sand_dagster.assets.metadata import column_parents, tags_of
from sand_dagster.experiments.experiment import Experiment

facets.set_producer(f"urn:sand-dagster:{importlib.metadata.version('sand-dagster')}")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is reported: a stage in one iteration (or none), in a Dagster run that was launched at a time."""

    namespace: str
    definition: StageDefinition
    experiment: Experiment
    store: ArtifactStore
    iteration: str | None
    run_id: str
    dagster_job: str
    launched: datetime

    @property
    def sources(self) -> list[Source]:
        """What the stage reads."""
        return self.definition.sources(self.experiment, self.iteration)

    @property
    def job(self) -> str:
        """The name of the job."""
        return f"{self.experiment.name}.{self.definition.name}"


def event(
    subject: Subject,
    state: RunState,
    inputs: Mapping[str, Manifest],
    made: Manifest | None = None,
    error: str = "",
) -> RunEvent:
    """The event that `subject` is in `state`.

    Args:
        inputs: the manifests of what it reads, as far as they are known.
        made: the partition's manifest, where it is complete.
        error: why it failed.
    """
    return RunEvent(
        eventType=state,
        eventTime=datetime.now(UTC).isoformat(),
        run=Run(str(_step(subject)), _run_facets(subject, made, error)),
        job=Job(subject.namespace, subject.job, _job_facets(subject.definition)),
        inputs=[_input(subject, source, inputs.get(source.name)) for source in subject.sources],
        outputs=[_output(subject, made)],
    )


def _step(subject: Subject) -> UUID:
    """The run's id: the same for all events of a step of a Dagster run."""
    return uuid5(UUID(subject.run_id), f"{subject.job} {subject.iteration or ''}")


def _run_facets(subject: Subject, made: Manifest | None, error: str) -> dict[str, facets.RunFacet]:
    parent = facets.parent_run
    about = {
        **{name.removeprefix("sand/"): value for name, value in tags_of(subject.experiment).items()},
        "dagster_job": subject.dagster_job,
        **({"iteration": subject.iteration} if subject.iteration else {}),
        **({"identity": made.identity.key} if made else {}),
    }
    tag = facets.tags_run.TagsRunFacetFields
    found: dict[str, facets.RunFacet] = {
        # The parent's name is the experiment and not Dagster's job: a job's full name in Marquez begins with
        # its parent's, and a stage is the same stage whichever job it was launched by.
        "parent": parent.ParentRunFacet(
            parent.Run(subject.run_id), parent.Job(subject.namespace, subject.experiment.name)
        ),
        "nominalTime": facets.nominal_time_run.NominalTimeRunFacet(subject.launched.isoformat()),
        "processing_engine": facets.processing_engine_run.ProcessingEngineRunFacet(
            importlib.metadata.version("dagster"), "Dagster"
        ),
        "tags": facets.tags_run.TagsRunFacet([tag(name, value, "SAND") for name, value in about.items()]),
    }
    if error:
        found["errorMessage"] = facets.error_message_run.ErrorMessageRunFacet(error, "Python")
    return found


def _job_facets(definition: StageDefinition) -> dict[str, facets.JobFacet]:
    return {
        "jobType": facets.job_type_job.JobTypeJobFacet("BATCH", "DAGSTER", "ASSET"),
        "documentation": facets.documentation_job.DocumentationJobFacet(
            inspect.getdoc(definition.body) or "", "text/markdown"
        ),
    }


def _input(subject: Subject, source: Source, manifest: Manifest | None) -> InputDataset:
    store = source.store(subject.store.home)
    found: dict[str, facets.InputDatasetFacet] = {}
    if source.partition:
        found["subset"] = subset.InputSubsetInputDatasetFacet(_partition(source.partition))
    if manifest:
        found["inputStatistics"] = facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=manifest.rows
        )
    return InputDataset(
        subject.namespace,
        f"{source.experiment}.{source.table}",
        found,
        facets=_dataset_facets(store, TABLES[source.table], manifest),
    )


def _output(subject: Subject, made: Manifest | None) -> OutputDataset:
    store, table = subject.store, TABLES[subject.definition.name]
    about = _dataset_facets(store, table, made)
    parents = column_parents(table, subject.sources)
    if parents:
        about["columnLineage"] = columns.ColumnLineageDatasetFacet(
            {
                name: columns.Fields(
                    [
                        columns.InputField(
                            subject.namespace,
                            f"{experiment}.{parent}",
                            column,
                            [columns.Transformation("DIRECT", "IDENTITY")],
                        )
                        for experiment, parent, column in found
                    ]
                )
                for name, found in parents.items()
            }
        )
    found: dict[str, facets.OutputDatasetFacet] = {}
    if subject.iteration:
        found["subset"] = subset.OutputSubsetOutputDatasetFacet(_partition(subject.iteration))
    if made:
        found["outputStatistics"] = (
            facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                made.rows, (store.folder(table.name, subject.iteration) / DATA).stat().st_size, 1
            )
        )
    return OutputDataset(subject.namespace, subject.job, found, facets=about)


def _dataset_facets(
    store: ArtifactStore, table: Table, manifest: Manifest | None
) -> dict[str, facets.DatasetFacet]:
    field = facets.schema_dataset.SchemaDatasetFacetFields
    found: dict[str, facets.DatasetFacet] = {
        "schema": facets.schema_dataset.SchemaDatasetFacet(
            [
                field(name, str(column.dtype), column.description, position)
                for position, (name, column) in enumerate(table.columns.items(), start=1)
            ]
        ),
        "dataSource": facets.datasource_dataset.DatasourceDatasetFacet(
            store.experiment, (store.home / store.experiment).as_uri()
        ),
        "documentation": facets.documentation_dataset.DocumentationDatasetFacet(f"A row is {table.row}."),
    }
    if manifest:
        found["version"] = facets.dataset_version_dataset.DatasetVersionDatasetFacet(manifest.content_hash)
    return found


def _partition(iteration: str) -> subset.PartitionSubsetCondition:
    return subset.PartitionSubsetCondition(
        [subset.Partition({"iteration": iteration}, f"iteration={iteration}")]
    )
