"""What is stale, shown in the UI: a check on every asset, by what `sand run` and `sand status` go by.

Dagster marks no partitioned asset as stale on the graph, looks one step back only, and stops at the loop.
"""

import json
from collections.abc import Iterator, Sequence

import dagster as dg

from sand_dagster.artifacts.store import MANIFEST, ArtifactStore
from sand_dagster.assets import stages_of
from sand_dagster.errors import ArtifactError
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import load_experiments
from sand_dagster.home import sand_home
from sand_dagster.ids import digest
from sand_dagster.jobs.instance import end_killed_runs
from sand_dagster.jobs.plan import NOT_MADE, few, plan
from sand_dagster.resources.artifacts import Artifacts

UP_TO_DATE = "up_to_date"
_ABOUT = (
    "Whether each partition that was made would be made alike today: code, configuration, packages, and "
    "what it was made from, back to the tasks and across the loop."
)
_EVERY_S = 30


def up_to_date_checks(experiment: Experiment) -> dg.AssetChecksDefinition:
    """The check `up_to_date` of all assets of an experiment: one look answers for all of them."""

    @dg.multi_asset_check(
        name=f"{experiment.group}_{UP_TO_DATE}",
        specs=[
            dg.AssetCheckSpec(UP_TO_DATE, asset=_key(experiment, each.name), description=_ABOUT)
            for each in stages_of(experiment)
        ],
        can_subset=True,
    )
    def look(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> Iterator[dg.AssetCheckResult]:
        selected = context.op_execution_context.selected_asset_check_keys
        store = artifacts.store(experiment.name)
        stale_by_stage = _stale(experiment, store, context.instance)
        for definition in stages_of(experiment):
            key = _key(experiment, definition.name)
            stale = stale_by_stage.get(definition.name, [])
            if dg.AssetCheckKey(key, UP_TO_DATE) in selected:
                yield dg.AssetCheckResult(
                    asset_key=key,
                    check_name=UP_TO_DATE,
                    passed=not stale,
                    severity=dg.AssetCheckSeverity.WARN,
                    description=_said(experiment, stale),
                )

    return look


def up_to_date_sensor(names: Sequence[str]) -> dg.SensorDefinition:
    """Looks whenever an experiment's file, its tables or the code changed, and ends runs that were killed."""

    @dg.sensor(
        name=UP_TO_DATE,
        description="Shows what is stale as the check `up_to_date` of each asset, and marks runs whose "
        "process was killed as failed, so that they hold nothing.",
        minimum_interval_seconds=_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def up_to_date(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        ended = end_killed_runs(context.instance)
        experiments, _ = load_experiments(sand_home())
        seen: dict[str, str] = json.loads(context.cursor or "{}")
        now: dict[str, str] = {}
        evaluations = []
        for name in filter(experiments.__contains__, names):
            experiment = experiments[name]
            try:
                now[name] = _signature(experiment)
                if now[name] != seen.get(name):
                    evaluations += _evaluations(experiment, context.instance)
            except ArtifactError as error:
                context.log.warning("%s", error)
        said = f"ended {len(ended)} runs that had been killed" if ended else "nothing changed"
        return dg.SensorResult(
            skip_reason=None if evaluations else said, asset_events=evaluations, cursor=json.dumps(now)
        )

    return up_to_date


def _key(experiment: Experiment, stage: str) -> dg.AssetKey:
    return dg.AssetKey([experiment.name, stage])


def _signature(experiment: Experiment) -> str:
    """What a look depends on, as far as it can be had in a moment."""
    below = sand_home() / experiment.name
    manifests = [(str(path), path.stat().st_mtime_ns) for path in sorted(below.glob(f"**/{MANIFEST}"))]
    versions = [definition.version(experiment) for definition in stages_of(experiment)]
    return digest(manifests, experiment.model_dump(mode="json"), versions)


def _evaluations(experiment: Experiment, instance: dg.DagsterInstance) -> list[dg.AssetCheckEvaluation]:
    stale_by_stage = _stale(experiment, ArtifactStore(sand_home(), experiment.name), instance)
    return [
        dg.AssetCheckEvaluation(
            asset_key=_key(experiment, stage),
            check_name=UP_TO_DATE,
            passed=not stale,
            severity=dg.AssetCheckSeverity.WARN,
            description=_said(experiment, stale),
        )
        for stage, stale in stale_by_stage.items()
    ]


def _stale(
    experiment: Experiment, store: ArtifactStore, instance: dg.DagsterInstance
) -> dict[str, list[str]]:
    """Of each stage that was made, the partitions that are stale now, with the reasons."""
    stale: dict[str, list[str]] = {}
    for each in plan(experiment, store, instance, experiment.partitions[-1], counted=False):
        if NOT_MADE in each.reasons:
            continue
        found = stale.setdefault(each.stage, [])
        if each.reasons:
            where = f"iteration {each.iteration}: " if each.iteration else ""
            found.append(where + few(each.reasons))
    return stale


def _said(experiment: Experiment, stale: Sequence[str]) -> str:
    if not stale:
        return "What was made is up to date."
    return (
        "\n\n".join(stale)
        + f"\n\nMaterialize it again with all that comes before it, or `sand run {experiment.name}`."
    )
