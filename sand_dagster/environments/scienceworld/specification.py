"""What a ScienceWorld task needs in addition to its name: the simplifications, and the package's version.

Both are in `Task.spec`, so that they are part of the content hash of the `tasks` table, and of what is made
from it.
"""

from __future__ import annotations

from importlib.metadata import version

from sand_dagster.types import Task

COMPARED = ("1.2.3",)
"""The package's versions that `sand bench environments --environment scienceworld` compared with ours."""

_PACKAGE = "scienceworld"
_OPEN = "teleportAction,selfWateringFlowerPots,openContainers,openDoors"
_NO_ELECTRICAL_ACTION = "noElectricalAction"
_ELECTRICAL = frozenset(
    {
        "power-component",
        "power-component-renewable-vs-nonrenewable-energy",
        "test-conductivity",
        "test-conductivity-of-unknown-substances",
    }
)
"""Types that are solved by connecting wires; the preset `easy` also keeps their electrical actions."""


def simplifications(task_type: str) -> str:
    """The simplifications of a task type, in the simulator's format.

    They are named one by one because the preset `easy` of 1.2.3 does not open containers, but Figure 8
    tells the agent that all are open.
    """
    return _OPEN if task_type in _ELECTRICAL else f"{_OPEN},{_NO_ELECTRICAL_ACTION}"


def spec_of(task_type: str, variation: int) -> dict[str, str | int]:
    """`Task.spec` of a variation, in the version of the simulator that is installed."""
    return {
        "task": task_type,
        "variation": variation,
        "simplifications": simplifications(task_type),
        "version": version(_PACKAGE),
    }


def simplifications_of(task: Task) -> str:
    """The simplifications that `task` has to be played with.

    Raises:
        ValueError: the task does not name them, or was made for another version of the simulator.
    """
    if missing := [name for name in ("simplifications", "version") if name not in task.spec]:
        raise ValueError(
            f"task {task.id}: its spec has no {' and no '.join(missing)}, found {dict(task.spec)}; it was "
            "made by an earlier version of this project: materialise `tasks` again"
        )
    made_for, installed = task.spec["version"], version(_PACKAGE)
    if made_for != installed:
        raise ValueError(
            f"task {task.id} was made for scienceworld {made_for}, but {installed} is installed; versions "
            f"play differently and must not be mixed: install scienceworld=={made_for}, or materialise "
            "`tasks` again"
        )
    return str(task.spec["simplifications"])


def require_compared() -> None:
    """Raise on a version of the simulator that was not compared, because it may behave differently.

    Raises:
        ValueError: the installed version is not one of `COMPARED`.
    """
    installed = version(_PACKAGE)
    if installed not in COMPARED:
        raise ValueError(
            f"scienceworld {installed} is installed; versions compared with this project's engine: "
            f"{', '.join(COMPARED)}. Install scienceworld=={COMPARED[-1]}, or run `sand bench environments "
            "--environment scienceworld` and, if it finds no difference, add the version to COMPARED in "
            f"{__file__}"
        )
