"""The row of `expert_import`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from sand_dagster.rows.row import Row, of
from sand_dagster.rows.steps import Turn
from sand_dagster.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRow(Row):
    """An expert trajectory, accepted or left out."""

    table: ClassVar = "expert_import"
    partitioned: ClassVar = False

    import_id: Annotated[str, "id of the row"]
    row: Annotated[int, "its row in the file, from 0; -1 if no file was read"]
    record_id: Annotated[str, "its id in the file"]
    trajectory_id: Annotated[str, "its id here; empty if the row has none"]
    task_id: Annotated[str, "the task; empty if there is none", of("tasks")]
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
    action: Annotated[str, "the action at that step"]
    expected: Annotated[str, "the recorded observation at that step, in our environment's words"]
    found: Annotated[str, "the replay's observation at that step"]
    refused_at: Annotated[int | None, "index of the first action that was refused; null: none"]
    recorded_reward: Annotated[float | None, "the reward in the file; null: none"]
    reward: Annotated[float | None, "the replay's reward, in [0, 1]; null if it was not replayed"]
    recorded_steps: Annotated[int, "steps in the file; those after the end are cut"]
    instruction: Annotated[str, "u, from the replay"]
    steps: Annotated[
        tuple[Turn, ...], "recorded thoughts and actions, with the replay's observations and validity"
    ]
    problem: Annotated[str, "why it was not replayed or not accepted"]
