"""What a ScienceWorld task is besides its name: the simplifications, and the package's version.

Both belong to `Task.spec`, so that they reach the content hash of the `tasks` table, and what is made of it.
"""

from __future__ import annotations

from importlib.metadata import version

from sand_dagster.types import Task

COMPARED = ("1.2.3",)
"""The package's versions with which `sand bench environments --environment scienceworld` compared ours."""

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
"""Types that are solved by wiring things up; the preset `easy`, too, leaves their electrical actions in."""


def simplifications(task_type: str) -> str:
    """The simplifications of a task type, as the simulator takes them.

    They are named one by one because the preset `easy` of 1.2.3 does not open containers, while Figure 8
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
    """The simplifications that `task` is to be played with.

    Raises:
        ValueError: the task does not say, or was made for another version of the simulator.
    """
    if missing := [name for name in ("simplifications", "version") if name not in task.spec]:
        raise ValueError(
            f"task {task.id}: its spec has no {' and no '.join(missing)}, found {dict(task.spec)}; it was "
            "made by an earlier version of this project: materialise `tasks` again"
        )
    made_for, installed = task.spec["version"], version(_PACKAGE)
    if made_for != installed:
        raise ValueError(
            f"task {task.id} was made for scienceworld {made_for}, and {installed} is installed; versions "
            f"play differently and are not mixed: install scienceworld=={made_for}, or materialise `tasks` "
            "again"
        )
    return str(task.spec["simplifications"])


def require_compared() -> None:
    """Refuse a version of the simulator that was not compared: it may order objects, or solve, otherwise.

    Raises:
        ValueError: the installed version is not one of `COMPARED`.
    """
    installed = version(_PACKAGE)
    if installed not in COMPARED:
        raise ValueError(
            f"scienceworld {installed} is installed; compared with this project's engine: "
            f"{', '.join(COMPARED)}. Install scienceworld=={COMPARED[-1]}, or run `sand bench environments "
            "--environment scienceworld` and, where it finds no difference, add the version to COMPARED in "
            f"{__file__}"
        )
