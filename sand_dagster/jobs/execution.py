"""A Dagster run in this process that the UI lists under its job, as if it had been launched there."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from sand_dagster.jobs.instance import mark_process

LOCATION, MODULE = "sand_dagster", "sand_dagster.definitions"
"""As in workspace.yaml."""


def execute(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    *,
    partition: str | None,
    assets: Sequence[dg.AssetKey],
    run_config: Mapping[str, Any],
) -> dg.JobExecutionResult:
    """Run `assets` of `job` here and now.

    `JobDefinition.execute_in_process` does the same, but says not where the job is defined: the UI's timeline
    then leaves the run out, and offers no re-execution.
    """
    tags = job.get_tags_for_partition_key(partition, assets) if partition else {}
    run = instance.create_run_for_job(
        job,
        run_config=run_config,
        tags={**job.run_tags, **tags},
        asset_selection=frozenset(assets),
        remote_job_origin=_origin(job.name),
    )
    mark_process(instance, run.run_id)
    return execute_run(InMemoryJob(job), run, instance)


def _origin(job: str) -> RemoteJobOrigin:
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=MODULE)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job)
