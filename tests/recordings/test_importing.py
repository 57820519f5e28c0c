"""Importing, with an environment that is scripted to fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sand_dagster.execution.units import Finished
from sand_dagster.interfaces import EnvironmentDied
from sand_dagster.recordings.importing import import_recordings, kept_trajectories, own_rows
from sand_dagster.recordings.recording import Recording, Recordings
from sand_dagster.rows.experts import ImportRow
from sand_dagster.sand.trajectories import expert_rows
from sand_dagster.types import Step, StepResult, Task, Trajectory
from sand_dagster.verdicts import Keep, Verdict
from tests.sand.scripted import GOAL, INSTRUCTION, TASK, Corridor, CorridorEpisode, MemoryJournal, stage

REFUSAL = "Nothing happens."


class Trap(CorridorEpisode):
    """The corridor, but with half of the reward at door 1 and an end without a win at door 9."""

    def __init__(self, traps: Traps) -> None:
        self.traps = traps

    async def step(self, action: str) -> StepResult:
        if action == "fall":
            raise RuntimeError("it fell")
        if action == "die":
            self.traps.died += 1
            raise EnvironmentDied("it died")
        if action == "go to door 9":
            return StepResult("You are lost.", 0.5, True, True)
        return await super().step(action)

    async def close(self) -> None:
        self.traps.closed += 1


@dataclass
class Traps(Corridor):
    died: int = 0
    closed: int = 0
    begun: list[str] = field(default_factory=list)

    async def open(self, task: Task, prefix: Sequence[Step] = ()) -> Trap:
        await super().open(task, prefix)
        self.begun.append(task.id)
        return Trap(self)


def recording(row: int, *actions: str, id: str = "", **recorded: Any) -> Recording:
    said = {GOAL: "You reach door 3."}
    steps = [Step(f"z{n}", action, said.get(action, "You walk.")) for n, action in enumerate(actions)]
    id = id or f"e{row}"
    return Recording(row, id, Trajectory(id, TASK, INSTRUCTION, steps, 1.0), **recorded)


async def imported(
    rows: Sequence[Recording],
    traps: Traps | None = None,
    keep: Keep = "winning",
    journal: MemoryJournal | None = None,
) -> tuple[Finished[ImportRow], list[ImportRow]]:
    recordings = Recordings("experts.json", rows, keep)
    finished = await import_recordings(stage(journal=journal), recordings, traps or Traps(), REFUSAL)
    return finished, [row for group in finished.rows for row in group]


async def test_every_row_has_a_verdict_and_no_row_ends_the_stage() -> None:
    traps = Traps()
    finished, rows = await imported(
        [
            recording(0, "go to door 1", GOAL, reward=0.5),
            recording(1, "go to door 1", "go to door 2", GOAL),
            recording(2, "fly", GOAL),
            recording(3, "go to door 1"),
            recording(4, "fall", GOAL),
            recording(5, "die", GOAL),
            recording(6, GOAL, "go to door 1"),
            recording(7, "go to door 9", GOAL),
            Recording(8, verdict=Verdict.MALFORMED, problem="it is 7"),
            recording(9, GOAL, id="e0"),
        ],
        traps,
    )
    assert [row.verdict for row in rows] == [
        "kept",
        "kept",
        "refused_action",
        "does_not_win",
        "environment_error",
        "environment_error",
        "kept",
        "does_not_win",
        "malformed",
        "duplicate",
    ]
    assert [row.kept for row in rows] == [True, True, *[False] * 4, True, *[False] * 3]
    assert (rows[0].recorded_reward, rows[0].reward, rows[1].recorded_reward) == (0.5, 1.0, None)
    assert (rows[2].refused_at, rows[2].differs_at, rows[2].expected) == (0, 0, "You walk.")
    assert rows[4].problem == "RuntimeError: it fell"
    assert (rows[5].problem, traps.died) == ("it died", 3)
    assert (rows[6].recorded_steps, len(rows[6].steps)) == (2, 1)
    assert (rows[7].reward, len(rows[7].steps)) == (0.5, 1)
    assert traps.closed == len(traps.begun)
    assert len({row.import_id for row in rows}) == len(rows)
    assert finished.outcomes.total() == len(rows)


async def test_with_all_kept_what_loses_has_the_reward_that_was_found() -> None:
    given = [recording(0, "go to door 9"), recording(1, "fly", GOAL), recording(2, "fall")]
    _, rows = await imported(given, keep="all")
    kept = list(kept_trajectories(rows, {TASK.id: TASK}))
    assert [(each.id, each.reward) for each in kept] == [("e0", 0.5), ("e1", 1.0)]
    assert [step.observation for step in kept[1].steps] == [REFUSAL, "You reach door 3."]


async def test_a_failure_of_the_environment_is_tried_again_in_the_next_run_and_a_verdict_is_not() -> None:
    journal, given = MemoryJournal(), [recording(0, GOAL), recording(1, "go to door 1", GOAL)]
    broken = Traps(deaths=3)
    _, rows = await imported(given[:1], broken, journal=journal)
    assert [row.verdict for row in rows] == ["environment_error"]
    mended = Traps()
    _, rows = await imported(given, mended, journal=journal)
    assert [row.verdict for row in rows] == ["kept", "kept"]
    assert len(mended.begun) == 2
    _, again = await imported(given, mended, journal=journal)
    assert again == rows and len(mended.begun) == 2


async def test_two_trajectories_of_a_task_that_begin_alike_have_steps_of_their_own() -> None:
    given = [recording(0, "go to door 1", GOAL), recording(1, "go to door 1", "go to door 2", GOAL)]
    _, rows = await imported(given)
    steps = expert_rows(kept_trajectories(rows, {TASK.id: TASK}))
    assert len({step.step_id for step in steps}) == len(steps) == 5
    alone = expert_rows(kept_trajectories(rows[:1], {TASK.id: TASK}))
    assert [step.step_id for step in alone] == [step.step_id for step in steps[:2]]


def test_what_our_own_environment_played_is_taken_as_it_is() -> None:
    steps = [Step("z", "fly", REFUSAL), Step("z", GOAL, "You reach door 3.")]
    trajectory = Trajectory("e", TASK, INSTRUCTION, steps, 1.0)
    (row,) = own_rows([trajectory], REFUSAL)
    assert (row.verdict, row.kept, row.row, row.recorded_reward) == ("ours", True, -1, None)
    assert [step.valid for step in row.steps] == [False, True]
    assert list(kept_trajectories([row], {TASK.id: TASK})) == [trajectory]
