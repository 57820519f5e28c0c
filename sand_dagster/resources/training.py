"""Training: supervised finetuning, and DPO, as a Dagster resource."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import dagster as dg
from pydantic import Field

from sand_dagster.experiments.experiment import Experiment
from sand_dagster.models.card_locks import CardLocks
from sand_dagster.resources.remote_training import KubernetesPods, RayJobs
from sand_dagster.training.job import Progress, Report
from sand_dagster.training.launching import Launcher, ThisMachine
from sand_dagster.training.trainer import DpoTrainer, SftTrainer
from sand_dagster.types import Message


class Training(dg.ConfigurableResource[None]):
    """TRL in its own processes, with the experiment's settings: its SFTTrainer, or for pairs its DPOTrainer.

    With `ray` or `kubernetes` they run elsewhere and are followed by Dagster Pipes. All nodes have
    `$SAND_HOME` and this code at the same paths. Where a training runs is no part of the rows' identity.
    """

    training_on: Literal["here", "ray", "kubernetes"] = Field(
        default="here",
        description="here: this machine; ray: a job of a Ray cluster (extra `ray`); kubernetes: a pod (extra "
        "`k8s`)",
    )
    training_nodes: int = Field(default=1, ge=1, description="with `ray`: nodes that train together")
    training_processes: int = Field(
        default=0, ge=0, description="on each node; 0: one for each GPU here, and elsewhere one"
    )
    training_gpu_gib: float = Field(
        default=0,
        ge=0,
        description="with `ray` and `kubernetes`: memory of the GPU that each process gets; 0: no GPUs. By "
        "it the state is placed; the memory of a node is taken to be that of this machine",
    )
    training_ray_address: str = Field(
        default="",
        description="with `ray`: the dashboard's URL; empty: RAY_ADDRESS, or a cluster on this machine",
    )
    training_pod: str = Field(
        default="",
        description="with `kubernetes`: a YAML file with the pod's spec: image, volumes, GPUs. Its first "
        "container trains",
    )
    training_python: str = Field(
        default="", description="with `ray` and `kubernetes`: the Python there; empty: the path of this one"
    )

    def finetune(
        self,
        experiment: Experiment,
        conversations: Sequence[Sequence[Message]],
        *,
        rejected: Sequence[Sequence[Message]] | None = None,
        parent: Path,
        output: Path,
        seed: int,
        epochs: int,
        key: str,
        on_progress: Callable[[Progress], None],
        context: dg.AssetExecutionContext | None = None,
    ) -> Report:
        """Finetune the model in `parent` on the agent's tokens; `output` becomes a Hugging Face folder.

        With `rejected`, one for each of `conversations`, this is DPO that prefers `conversations` to them.

        `key` is the unit's key: a killed training is resumed only if it has the same key. A training
        elsewhere needs the step's `context`.

        Raises:
            TrainingFailed: a process of the training ended with an error, or the training does not fit.
        """
        launcher = self._launcher(context)
        here = self.training_on == "here"
        with CardLocks.of_this_machine().holding() if here else nullcontext():
            if rejected is None:
                sft = SftTrainer(experiment.finetuning, on_progress, key=key, launcher=launcher)
                return Report.model_validate(sft.finetune(conversations, parent, output, seed, epochs))
            settings, beta = experiment.preference_tuning, experiment.eto.beta
            dpo = DpoTrainer(settings, beta, on_progress, key=key, launcher=launcher)
            return Report.model_validate(dpo.prefer(conversations, rejected, parent, output, seed, epochs))

    def _launcher(self, context: dg.AssetExecutionContext | None) -> Launcher:
        if self.training_on == "here":
            if self.training_nodes > 1:
                raise ValueError("SAND_TRAINING_NODES needs SAND_TRAINING_ON=ray: this machine is one node")
            return ThisMachine(self.training_processes)
        assert context is not None, "Dagster Pipes needs the step's context"
        on_each, card = self.training_processes or 1, int(self.training_gpu_gib * 1024**3)
        if self.training_on == "ray":
            return RayJobs(
                context, self.training_nodes, on_each, card, self.training_python, self.training_ray_address
            )
        if self.training_nodes > 1:
            raise ValueError(
                "SAND_TRAINING_NODES needs SAND_TRAINING_ON=ray: a training on Kubernetes is one pod"
            )
        return KubernetesPods(context, 1, on_each, card, self.training_python, self.training_pod)
