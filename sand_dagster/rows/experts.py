"""The row of `expert_import`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sand_dagster.rows.row import Row, of
from sand_dagster.rows.steps import Turn
from sand_dagster.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRow(Row):
    """An expert trajectory, taken or left out."""

    table: ClassVar = "expert_import"
    partitioned: ClassVar = False

    import_id: Annotated[str, "id of the row"]
    row: Annotated[int, "its row in the file, from 0; -1 where no file was read"]
    record_id: Annotated[str, "the id that it has in the file"]
    trajectory_id: Annotated[str, "the id that it has here; empty where the row gave none"]
    task_id: Annotated[str, "the task; empty where there is none", of("tasks")]
    verdict: Annotated[
        Verdict,
        "ours (no file), kept (replays text for text and wins), kept_reworded (wins, a text differs), "
        "refused_action (wins, an action was refused), does_not_win, duplicate, environment_error, "
        "unknown_task, malformed",
    ]
    kept: Annotated[bool, "whether it is among the expert trajectories"]
    differs_at: Annotated[
        int | None, "index of the first step whose text differs; -1: the instruction; null: none"
    ]
    action: Annotated[str, "the action there"]
    expected: Annotated[str, "the recorded observation there, in our environment's words"]
    found: Annotated[str, "the observation found there"]
    refused_at: Annotated[int | None, "index of the first action that was refused; null: none"]
    recorded_reward: Annotated[float | None, "the reward in the file; null: none"]
    reward: Annotated[float | None, "the reward found, in [0, 1]; null where it was not replayed"]
    recorded_steps: Annotated[int, "steps in the file; those after the end are cut"]
    instruction: Annotated[str, "u, as found"]
    steps: Annotated[tuple[Turn, ...], "recorded thoughts and actions, observations and validity as found"]
    problem: Annotated[str, "why it was not replayed, or is not taken"]
