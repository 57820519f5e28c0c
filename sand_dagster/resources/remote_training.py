"""Trainings on a Ray cluster or on Kubernetes, followed by Dagster Pipes.

The job's file, the model and the messages are in `$SAND_HOME`, which all nodes share. So nothing is copied,
and a training's messages are read from a file there.
"""

from __future__ import annotations

import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import dagster as dg
import yaml
from dagster_pipes import PipesParams

from sand_dagster.models.model_folder import model_id
from sand_dagster.training import lease
from sand_dagster.training.job import Job, Progress
from sand_dagster.training.launching import ENVIRONMENT, Processes, TrainingFailed, planned, unplanned
from sand_dagster.training.settings import FinetuningSettings

_RAY_DRIVER = "sand_dagster.training.ray_nodes"


class _Elsewhere(ABC):
    """A `Launcher` whose processes run in the job of an orchestrator of machines."""

    extra: str
    """The extra of this distribution that it needs."""

    def __init__(
        self, context: dg.AssetExecutionContext, nodes: int, on_each: int, card: int, python: str
    ) -> None:
        """`card`: bytes of the GPU that each process gets; 0: none."""
        self._context, self._nodes, self._on_each, self._card = context, nodes, on_each, card
        self._python = python or sys.executable

    def plan(self, parent: Path, settings: FinetuningSettings) -> Processes:
        """See `Launcher`."""
        if self._card:
            return planned(self._nodes, self._on_each, self._card, parent, settings)
        return unplanned(self._nodes, self._on_each, settings)

    def run(self, processes: Processes, job: Path, on_progress: Callable[[Progress], None]) -> None:
        """See `Launcher`; also checks that the model that was written there is the one that is seen here.

        Raises:
            TrainingFailed: also if it is not, or the extra is not installed.
        """
        reader = _Messages(job.with_name("messages"), on_progress)
        with lease.held(job) as name:
            try:
                done = self._submitted(processes, job, reader, ENVIRONMENT | {lease.VARIABLE: name})
            except ImportError as error:
                raise TrainingFailed(
                    f"{error}. A training there needs more packages: pip install 'sand-dagster[{self.extra}]'"
                ) from error
            except Exception as error:  # of a library, or of a cluster: any
                raise TrainingFailed(
                    f"the finetuning's job failed. {type(error).__name__}: {error}"
                ) from error
        written = done.get_materialize_result().data_version
        output = Job.model_validate_json(job.read_text()).output
        if written is None or not output.is_dir() or model_id(output) != written.value:
            raise TrainingFailed(
                f"the training ended, but its model is not in {output} as it was written there. $SAND_HOME "
                "has to be one shared folder, at the same path on all nodes"
            )

    @abstractmethod
    def _submitted(
        self, processes: Processes, job: Path, reader: dg.PipesMessageReader, environment: Mapping[str, str]
    ) -> dg.PipesClientCompletedInvocation: ...


class RayJobs(_Elsewhere):
    """A job of a Ray cluster. Its nodes train together."""

    extra = "ray"

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        nodes: int,
        on_each: int,
        card: int,
        python: str,
        address: str,
    ) -> None:
        """`address`: the dashboard's URL; empty: RAY_ADDRESS, or a cluster on this machine."""
        super().__init__(context, nodes, on_each, card, python)
        self._address = address or None

    def _submitted(
        self, processes: Processes, job: Path, reader: dg.PipesMessageReader, environment: Mapping[str, str]
    ) -> dg.PipesClientCompletedInvocation:
        from dagster_ray.core.pipes import PipesRayJobClient

        driver = [self._python, "-m", _RAY_DRIVER, str(job), *map(str, processes), str(int(self._card > 0))]
        client = PipesRayJobClient(address=self._address, message_reader=reader)
        return client.run(
            context=self._context,
            submit_job_params={
                "entrypoint": shlex.join(driver),
                "runtime_env": {"env_vars": dict(environment)},
            },
        )


class KubernetesPods(_Elsewhere):
    """A pod, made from a spec that the user wrote."""

    extra = "k8s"

    def __init__(
        self, context: dg.AssetExecutionContext, nodes: int, on_each: int, card: int, python: str, pod: str
    ) -> None:
        """`pod`: a YAML file with the pod's spec.

        Raises:
            ValueError: there is no such file, or it is no pod's spec.
        """
        super().__init__(context, nodes, on_each, card, python)
        self._pod = _pod_spec(pod)

    def _submitted(
        self, processes: Processes, job: Path, reader: dg.PipesMessageReader, environment: Mapping[str, str]
    ) -> dg.PipesClientCompletedInvocation:
        from dagster_k8s import PipesK8sClient

        return PipesK8sClient(message_reader=reader).run(
            context=self._context,
            command=[*processes.command(self._python), str(job)],
            env=dict(environment),
            base_pod_spec=self._pod,
            pod_wait_timeout=0,  # a training may take days
        )


def _pod_spec(file: str) -> dict[str, Any]:
    """The pod's spec in a YAML file.

    Raises:
        ValueError: there is no such file, or it is no pod's spec.
    """
    if not file:
        raise ValueError(
            "SAND_TRAINING_ON is kubernetes, but SAND_TRAINING_POD names no YAML file with the pod's spec"
        )
    try:
        spec = yaml.safe_load(Path(file).expanduser().read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"SAND_TRAINING_POD={file}: {error}") from error
    if not isinstance(spec, dict) or not spec.get("containers"):
        raise ValueError(
            f"SAND_TRAINING_POD={file}: this is no pod's spec. Its first level has the key `containers`, "
            "whose first entry has an `image`"
        )
    return spec


class _Messages(dg.PipesFileMessageReader):
    """Reads the messages of a training from a file, and tells its progress at once."""

    def __init__(self, path: Path, on_progress: Callable[[Progress], None]) -> None:
        super().__init__(str(path))
        self._on_progress = on_progress

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Iterator[PipesParams]:
        listening = cast("dg.PipesMessageHandler", _Listening(handler, self._on_progress))
        with super().read_messages(listening) as parameters:
            yield parameters


class _Listening:
    """A handler of Pipes that also follows the custom messages, which Pipes itself only collects."""

    def __init__(self, handler: dg.PipesMessageHandler, on_progress: Callable[[Progress], None]) -> None:
        self._handler, self._on_progress = handler, on_progress
        self.report_pipes_framework_exception = handler.report_pipes_framework_exception

    def handle_message(self, message: Any) -> None:
        if message["method"] == "report_custom_message":
            self._on_progress(Progress.model_validate(message["params"]["payload"]))
        else:
            self._handler.handle_message(message)
