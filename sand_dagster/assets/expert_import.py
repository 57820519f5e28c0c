"""The expert's trajectories, and what their replay in our environment showed."""

import dagster as dg
import polars as pl

from sand_dagster.assets.deciding import environment_files, environment_module, environment_packages
from sand_dagster.assets.definition import stage
from sand_dagster.assets.run import Result, StageRun
from sand_dagster.environments import recordings_of
from sand_dagster.execution.units import Finished
from sand_dagster.recordings.importing import import_recordings, own_rows
from sand_dagster.recordings.recording import Recordings
from sand_dagster.rows.experts import ImportRow
from sand_dagster.verdicts import Verdict


@stage(
    reads=("tasks",),
    settings=("environment",),
    modules=lambda experiment: ("sand_dagster.recordings.importing", environment_module(experiment)),
    packages=environment_packages,
    files=environment_files,
    kinds=frozenset({"parquet"}),
    units=True,
)
def expert_import(run: StageRun) -> Result:
    """Every expert trajectory with a verdict: those of a file are replayed once in our environment, and taken
    with what that says, or left out; those of our own making are taken as they are."""
    section = run.experiment.environment
    kind = section.module
    train = [task for task in run.tasks.values() if task.split == "train"]
    try:
        recordings = recordings_of(kind, section.options, run.store.home, train)
    except ValueError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    counts = {
        "taken": pl.col("kept").sum(),
        **{verdict.value: (pl.col("verdict") == verdict.value).sum() for verdict in Verdict},
        "steps_cut": (pl.col("recorded_steps") - pl.col("steps").list.len()).filter("kept").sum(),
    }
    if recordings is None:
        if run.trial is not None:
            return Result([])  # our own experts have no units
        found = list(kind.experts(section.options, run.store.home, train, run.progress.counted))
        return Result(own_rows(found, kind.DOMAIN.refusal), counts)

    async def replay() -> Finished[ImportRow]:
        async with run.pool() as pool:
            return await import_recordings(run.stage, recordings, pool, kind.DOMAIN.refusal)

    finished = run.wait(replay())
    if run.trial is None:
        _require_some(finished, recordings)
    return Result.of(finished, **counts)


def _require_some(finished: Finished[ImportRow], recordings: Recordings) -> None:
    """Nothing is committed without a single trajectory, so that the next run reads the file again."""
    if any(row.kept for rows in finished.rows for row in rows):
        return
    problem = next((row.problem for rows in finished.rows for row in rows if row.problem), "")
    said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(finished.outcomes.items()))
    advice = {
        Verdict.ENVIRONMENT_ERROR: "the environment does not work here: see the message",
        Verdict.UNKNOWN_TASK: "the file belongs to other tasks than `environment` names",
    }.get(
        Verdict(finished.outcomes.most_common(1)[0][0]),
        "`sand replay` shows the first difference of each; `environment.keep: all` takes those that lose",
    )
    raise dg.Failure(
        f"none of the {len(recordings.rows)} expert trajectories of {recordings.source} is taken: {said}. "
        f"{advice[0].upper()}{advice[1:]}." + (f" The first message: {problem}" if problem else ""),
        allow_retries=False,
    )
