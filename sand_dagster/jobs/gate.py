"""When an iteration may start: the one before is complete, up to date, and its invariants hold."""

from __future__ import annotations

import dagster as dg

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets.definition import INITIALISATION, StageDefinition, Where
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.jobs.checks import broken_invariants
from sand_dagster.jobs.instance import mark_process
from sand_dagster.jobs.iteration import iteration_job_name, setup_job_name
from sand_dagster.jobs.plan import few, plan

_SHOWN = 3


def before_stage(
    context: dg.AssetExecutionContext,
    definition: StageDefinition,
    experiment: Experiment,
    store: ArtifactStore,
    iteration: str | None,
) -> None:
    """What comes before the work of every stage, whoever launched it.

    The run is marked with its process, so that a killed one can be recognised. A stage that goes on from the
    iteration before looks whether it may.

    Raises:
        dagster.Failure: it may not.
    """
    mark_process(context.instance, context.run.run_id)
    goes_on = any(read.where is Where.PREVIOUS for read in definition.reads)
    if goes_on and iteration is not None and iteration != INITIALISATION:
        refuse_to_start(experiment, store, context.instance, iteration)


def refuse_to_start(
    experiment: Experiment, store: ArtifactStore, instance: dg.DagsterInstance, iteration: str
) -> None:
    """Look at all that comes before `iteration`, as `sand run` does.

    Raises:
        dagster.Failure: something of it is incomplete, stale or damaged, or breaks an invariant. The message
            names it, and what to run first.
    """
    previous = f"{int(iteration) - 1:02}"
    pending = [each for each in plan(experiment, store, instance, previous, counted=False) if each.reasons]
    if pending:
        # What is only downstream of another is made again with it.
        named = [each for each in pending if each.own_reasons] or pending
        listed = [f"{each.stage} {each.iteration or ''}".strip() + f": {few(each.reasons)}" for each in named]
        more = f"\n  and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
        first = named[0].iteration
        job = f"partition {first} of the job {iteration_job_name(experiment)}"
        todo = job if first else f"the job {setup_job_name(experiment)}"
        raise dg.Failure(
            f"iteration {iteration} of {experiment.name} does not start: what it goes on from is not "
            "complete and up to date.\n  "
            + "\n  ".join(listed[:_SHOWN])
            + f"{more}\nRun {todo} first, or `sand run {experiment.name} --until {iteration}`, which does "
            "all that is to be done, in order.",
            allow_retries=False,
        )
    if broken := broken_invariants(experiment, store, previous):
        raise dg.Failure(
            f"iteration {iteration} of {experiment.name} does not start: checks of iteration {previous} "
            f"fail.\n  " + "\n  ".join(broken[:_SHOWN]) + "\nThe assets' pages say more under Checks.",
            allow_retries=False,
        )
