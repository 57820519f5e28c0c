"""`sand run`: the iterations of an experiment one after another, from wherever they stand."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from dagster_shared.error import SerializableErrorInfo
from rich.console import Console

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets import stages_of
from sand_dagster.assets.definition import INITIALISATION, StageDefinition, Where
from sand_dagster.assets.progress import listening
from sand_dagster.assets.report import NAME as REPORT
from sand_dagster.errors import ExperimentBusy
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import ExperimentError, load_experiment
from sand_dagster.home import sand_home
from sand_dagster.jobs.console import ProgressDisplay
from sand_dagster.jobs.execution import execute
from sand_dagster.jobs.instance import end_killed_runs, holding, opened, process_of, running_elsewhere
from sand_dagster.jobs.interrupts import Interrupted, Interrupts
from sand_dagster.jobs.iteration import iteration_job_name, setup_job_name
from sand_dagster.jobs.plan import NOT_MADE, Planned, few, plan

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailed(Exception):
    """A stage failed; the message says which, why, and how to go on."""


def run_experiment(
    defs: dg.Definitions,
    name: str,
    until: str,
    console: Console | None = None,
    fresh: Sequence[str] = (),
    interrupts: Interrupts | None = None,
) -> None:
    """Materialise what is not complete of iterations 00 to `until` of the experiment `name` in `defs`.

    First what has no iterations, then one Dagster run an iteration, in this process, so that its stages share
    engines. What is complete (`plan`) is kept; the stages in `fresh` are done again in iteration `until`, all
    their units too.

    Raises:
        ExperimentError: there is no such experiment, or no such iteration or stage in it.
        RunFailed: a stage failed. What it had finished is kept.
        ExperimentBusy: another process runs the experiment.
        Interrupted: SIGINT or SIGTERM came, as `interrupts` noted. What was finished is kept.
    """
    home, console = sand_home(), console or Console()
    experiment = load_experiment(name, home)
    check_iteration(experiment, until)
    stages = {definition.name: definition for definition in stages_of(experiment)}
    if unknown := [stage for stage in fresh if stage not in stages]:
        raise ExperimentError(f"{name} has no stage {', '.join(unknown)}; it has {', '.join(stages)}")
    with (
        holding(home, name, f"sand run {name} --until {until}"),
        opened(home, to_run=True) as instance,
    ):
        for run_id in end_killed_runs(instance):
            console.print(f"Run {run_id[:8]} had been killed; going on from what it finished.")
        other = running_elsewhere(instance, experiment)
        if other is not None:
            raise ExperimentBusy(_busy(instance, experiment, other))
        run = _Run(defs, experiment, ArtifactStore(home, name), instance, console, until, interrupts)
        run.stages(None, [stage for stage in fresh if not stages[stage].partitioned])
        for iteration in experiment.partitions[: experiment.partitions.index(until) + 1]:
            again = [stage for stage in fresh if stages[stage].partitioned] if iteration == until else []
            run.stages(iteration, again)


def _busy(instance: dg.DagsterInstance, experiment: Experiment, run: dg.DagsterRun) -> str:
    record = instance.get_run_record_by_id(run.run_id)
    since = record.start_time if record else None
    when = f" since {datetime.fromtimestamp(since):%Y-%m-%d %H:%M:%S}" if since else ""
    return (
        f"experiment {experiment.name} is held by Dagster's run {run.run_id[:8]}{when} (process "
        f"{(process_of(run) or '').split(':')[0]}). Wait until it has ended, or terminate it in the UI"
    )


def check_iteration(experiment: Experiment, iteration: str) -> None:
    """
    Raises:
        ExperimentError: the experiment has no such iteration.
    """
    if iteration not in experiment.partitions:
        raise ExperimentError(
            f"{experiment.name} has the iterations {', '.join(experiment.partitions)}; {iteration!r} is none "
            "of them. Their number is `iterations` in the experiment's file"
        )


@dataclass(frozen=True, slots=True)
class _Run:
    defs: dg.Definitions
    experiment: Experiment
    store: ArtifactStore
    instance: dg.DagsterInstance
    console: Console
    until: str
    interrupts: Interrupts | None

    def stages(self, iteration: str | None, fresh: Sequence[str]) -> None:
        """Run what is to be run of one iteration, or (None) of the stages that have none."""
        planned = [each for each in self._plan(iteration or INITIALISATION) if each.iteration == iteration]
        stages = [each for each in stages_of(self.experiment) if each.partitioned == (iteration is not None)]
        pending = _with_downstream(stages, {*fresh, *(each.stage for each in planned if each.reasons)})
        name = f"Iteration {iteration} of {self.experiment.name}" if iteration else self.experiment.name
        self._mend(each for each in planned if each.stage not in pending)
        if not pending:
            if iteration:
                self.console.print(f"{name} is complete.")
            return
        self._announce(name, planned, pending, fresh)
        job = iteration_job_name(self.experiment) if iteration else setup_job_name(self.experiment)
        config = {
            "ops": {
                dg.AssetKey([self.experiment.name, stage]).to_python_identifier(): {"config": {"fresh": True}}
                for stage in fresh
                if any(each.name == stage and each.counted for each in stages)
            }
        }
        with ProgressDisplay(self.console) as display, listening(display.tell):
            try:
                result = execute(
                    self.defs.resolve_job_def(job),
                    self.instance,
                    partition=iteration,
                    assets=[dg.AssetKey([self.experiment.name, name]) for name in _with_report(pending)],
                    run_config=_QUIET | config,
                )
            except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
                raise self._interrupted(display) from None
        if self.interrupts is not None and self.interrupts.received():
            raise self._interrupted(display)
        for evaluation in result.get_asset_check_evaluations():
            if not evaluation.passed:
                self.console.print(
                    f"[yellow]Check {evaluation.asset_key.path[-1]}.{evaluation.check_name} did not pass: "
                    f"{evaluation.description}[/yellow]"
                )
        if not result.success:
            raise RunFailed(_why(result, name, self.experiment, self.until))

    def _mend(self, complete: Iterable[Planned]) -> None:
        """What lies beside the rows of stages that do not run; a stage that runs writes it anew."""
        for each in complete:
            name = f"{each.stage} {each.iteration or ''}".rstrip()
            if damaged := self.store.mend_journal(each.stage, each.iteration):
                lines = f"{damaged} damaged line{'s' if damaged > 1 else ''}"
                self._say(f"  {name}: took {lines} out of its journal, which its rows do not need")
            if files := self.store.mend_links(each.stage, each.iteration):
                self._say(f"  {name}: made {' and '.join(files)} again from its rows")

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

    def _interrupted(self, display: ProgressDisplay) -> Interrupted:
        number = (self.interrupts and self.interrupts.received()) or signal.SIGINT
        at = f" in {display.last}" if display.last else ""
        return Interrupted(
            number,
            f"interrupted by {number.name}{at}. What was finished is kept: "
            f"`sand run {self.experiment.name} --until {self.until}` goes on from there.",
        )

    def _plan(self, iteration: str) -> list[Planned]:
        return plan(self.experiment, self.store, self.instance, iteration, counted=False)

    def _announce(
        self, name: str, planned: Sequence[Planned], pending: Sequence[str], fresh: Sequence[str]
    ) -> None:
        done = len(planned) - len(pending)
        self.console.print(
            f"{name}: {', '.join(pending)}" + (f" ({done} stages are complete)" if done else "")
        )
        for each in planned:
            own = [reason for reason in each.own_reasons if reason != NOT_MADE]
            if each.stage in fresh:
                own.append("asked for")
            if own:
                self.console.print(f"  {each.stage}: {few(own)}", highlight=False, markup=False)


def _with_downstream(stages: Sequence[StageDefinition], pending: set[str]) -> list[str]:
    """`pending` with all that comes after them among `stages`, in their order."""
    found: list[str] = []
    for definition in stages:
        after = any(read.table in found and read.where is Where.HERE for read in definition.reads)
        if definition.name in pending or after:
            found.append(definition.name)
    return found


def _with_report(pending: Sequence[str]) -> list[str]:
    """The assets to make: the stages, and the report of the scores that are new."""
    return [*pending, *([REPORT] if "eval_scores" in pending else [])]


def _why(result: dg.JobExecutionResult, name: str, experiment: Experiment, until: str) -> str:
    reasons: Sequence[str] = []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            failure = data.user_failure_data
            error = data.error
            cause = error.cause if error and error.cause else error
            said = failure.description if failure else _said(cause) if cause else ""
            reasons = [*reasons, f"{event.step_key} failed: {(said or '').strip()}"]
        elif event.is_run_failure and not reasons and event.job_failure_data.error:
            reasons = [_said(event.job_failure_data.error)]  # between its steps
    return "\n".join(
        [
            f"{name} did not finish (run {result.run_id}).",
            *reasons,
            f"What was finished is kept: `sand run {experiment.name} --until {until}` goes on from there.",
        ]
    )


def _said(error: SerializableErrorInfo) -> str:
    """An error's class and message; Dagster has the class before its message once more, with its module."""
    name = str(error.cls_name)
    _, _, message = error.message.partition(f"{name}: ")
    return f"{name}: {message or error.message}"
