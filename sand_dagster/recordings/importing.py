"""Expert data from a file: each trajectory is replayed once, and accepted or left out by the result.

Thoughts and actions stay as recorded; observations, reward and validity are those of our environment. So
later stages replay what this environment answers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from sand_dagster.execution.units import Finished, Stage, Unit, run_units
from sand_dagster.ids import digest, identify
from sand_dagster.interfaces import EnvironmentDied, Environments
from sand_dagster.recordings.recording import Recording, Recordings, Replayed, replay
from sand_dagster.rows.experts import ImportRow
from sand_dagster.sand.episode import turns_of
from sand_dagster.types import Task, Trajectory
from sand_dagster.verdicts import Keep, Verdict

_ATTEMPTS = 3
_log = logging.getLogger(__name__)


async def import_recordings(
    stage: Stage, recordings: Recordings, environments: Environments, refusal: str
) -> Finished[ImportRow]:
    """The `expert_import` rows of a file, one for each of its rows, in order.

    No row ends the stage: a row that cannot be read, opened or replayed gets a verdict. The counted outcome
    is the verdict before the search for duplicates.
    """
    units = (
        Unit(
            _unless_it_failed(stage, stage.key(recording, refusal, recordings.keep)),
            partial(_import_one, recording, recordings.keep, environments, refusal),
        )
        for recording in recordings.rows
    )
    finished = await run_units(stage, ImportRow, units, len(recordings.rows))
    return Finished(_WithoutDuplicates(finished.rows), finished.outcomes, finished.reused)


def _unless_it_failed(stage: Stage, key: str) -> str:
    """`key`, or the first key after it under which the journal has no failure of the environment.

    The cause of the failure may be gone by now, so a failure in the journal must not be used as a result.
    """
    while (kept := stage.journal.get(key)) and kept["outcome"] == Verdict.ENVIRONMENT_ERROR:
        key = digest("again", key)
    return key


async def _import_one(
    recording: Recording, keep: Keep, environments: Environments, refusal: str
) -> tuple[list[ImportRow], str]:
    row = await import_row(recording, keep, environments, refusal)
    return [row], row.verdict


async def import_row(recording: Recording, keep: Keep, environments: Environments, refusal: str) -> ImportRow:
    """The `expert_import` row of one recording, which is replayed unless it already has a verdict.

    If the environment dies, the replay is repeated; if it fails, the verdict is `environment_error`.
    """
    trajectory = recording.trajectory
    if trajectory is None or recording.verdict is not None:
        assert recording.verdict is not None, f"row {recording.row} has neither a trajectory nor a verdict"
        return _row(recording, recording.verdict, keep, recording.problem)
    problem = ""
    for _ in range(_ATTEMPTS):
        try:
            replayed = await replay(environments, trajectory, refusal)
        except EnvironmentDied as died:
            problem = str(died)
        # Any error of an environment is recorded for this trajectory, and the others continue.
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            break
        else:
            return _row(recording, replayed.verdict, keep, "", replayed)
    _log.warning("recorded trajectory %d could not be replayed: %s", recording.row, problem)
    return _row(recording, Verdict.ENVIRONMENT_ERROR, keep, problem)


def own_rows(trajectories: Iterable[Trajectory], refusal: str) -> Iterator[ImportRow]:
    """The `expert_import` rows of trajectories from our own environment: there is nothing to replay."""
    for trajectory in trajectories:
        valid = [step.observation != refusal for step in trajectory.steps]
        played = Replayed(trajectory.instruction, trajectory.steps, valid, trajectory.reward, None)
        yield _row(Recording(-1, "", trajectory), Verdict.OURS, "winning", "", played)


def kept_trajectories(rows: Iterable[ImportRow], tasks: Mapping[str, Task]) -> Iterator[Trajectory]:
    """The expert's trajectories in the rows of `expert_import`, in their order."""
    for row in rows:
        if row.kept:
            assert row.reward is not None, f"{row.trajectory_id} was kept, but not replayed"
            steps = [turn.step for turn in row.steps]
            yield Trajectory(row.trajectory_id, tasks[row.task_id], row.instruction, steps, row.reward)


def without_duplicates(rows: Iterable[ImportRow]) -> Iterator[ImportRow]:
    """`rows`, in which a trajectory whose id was kept before is a duplicate."""
    kept: set[str] = set()
    for row in rows:
        if row.kept and row.trajectory_id in kept:
            problem = f"a trajectory {row.record_id!r} of this task was kept before"
            row = replace(row, verdict=Verdict.DUPLICATE, kept=False, problem=problem)
        elif row.kept:
            kept.add(row.trajectory_id)
        yield row


@dataclass(frozen=True, slots=True)
class _WithoutDuplicates:
    rows: Iterable[list[ImportRow]]

    def __iter__(self) -> Iterator[list[ImportRow]]:
        for row in without_duplicates(row for group in self.rows for row in group):
            yield [row]


def _row(
    recording: Recording, verdict: Verdict, keep: Keep, problem: str, replayed: Replayed | None = None
) -> ImportRow:
    trajectory = recording.trajectory
    difference = None if replayed is None else replayed.difference
    trajectory_id = "" if trajectory is None else trajectory.id
    return ImportRow(
        import_id=identify("expert_import", recording.row, recording.id, trajectory_id),
        row=recording.row,
        record_id=recording.id,
        trajectory_id=trajectory_id,
        task_id="" if trajectory is None else trajectory.task.id,
        verdict=verdict,
        kept=verdict.kept(keep),
        differs_at=None if difference is None else difference.index,
        action="" if difference is None else difference.action,
        expected="" if difference is None else difference.expected,
        found="" if difference is None else difference.found,
        refused_at=None if replayed is None else replayed.refused,
        recorded_reward=recording.reward,
        reward=None if replayed is None else replayed.reward,
        recorded_steps=0 if trajectory is None else len(trajectory.steps),
        instruction="" if replayed is None else replayed.instruction,
        steps=() if replayed is None else turns_of(replayed.steps, replayed.valid),
        problem=problem,
    )
