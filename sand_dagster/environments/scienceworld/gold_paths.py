"""The simulator's gold paths as expert data."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import closing

from sand_dagster.environments import Progress
from sand_dagster.environments.scienceworld.environment import ScienceWorldEnvironment
from sand_dagster.environments.scienceworld.simulator import Simulator
from sand_dagster.environments.scienceworld.specification import simplifications_of
from sand_dagster.environments.scienceworld.thoughts import thought
from sand_dagster.ids import identify
from sand_dagster.types import Step, Task, Trajectory

_WALK = re.compile(r"go to (.+)")
_DOOR = re.compile(r"open door to .+")
_LOOK = "look around"
_FULL = 1.0 - 1e-6

logger = logging.getLogger(__name__)


def teleporting(path: Sequence[str]) -> list[str]:
    """A gold path in the words of Figure 8. All doors are open, so every walk through doors becomes one
    teleport. The expert looks around at the start and after each teleport."""
    actions: list[str] = []
    room = ""
    new_here = True
    for action in path:
        if (walk := _WALK.fullmatch(action)) is not None:
            room, new_here = walk[1], True
            continue
        if _DOOR.fullmatch(action):
            continue
        if room:
            actions.append(f"teleport to {room}")
        if new_here and action != _LOOK:
            actions.append(_LOOK)
        room, new_here = "", False
        actions.append(action)
    return actions


def gold_path(oracle: Simulator, task: Task) -> list[str]:
    """The actions that solve `task`. `oracle` is a JVM that is used for nothing else."""
    name, variation = str(task.spec["task"]), int(task.spec["variation"])
    oracle.load(name, variation, simplifications_of(task), gold_path=True)
    return oracle.gold_path()


def gold_trajectories(tasks: Sequence[Task], progress: Progress) -> Iterator[Trajectory]:
    """The gold path of every task, played in the environment up to the full score, with scripted thoughts.

    A path that loses its score with teleports (some tasks need time to ripen) is played unchanged. If it then
    does not reach the full score, or takes more than `step_limit` turns, it is left out. Their number is
    logged.
    """
    short: list[str] = []
    long: list[str] = []
    with closing(ScienceWorldEnvironment()) as environment, closing(Simulator()) as oracle:
        for done, task in enumerate(tasks, 1):
            path = gold_path(oracle, task)
            trajectory = _play(environment, task, teleporting(path))
            if trajectory.reward < _FULL:
                trajectory = _play(environment, task, path)
            progress(done, len(tasks))
            if trajectory.reward < _FULL:
                short.append(task.id)
            elif len(trajectory.steps) > task.step_limit:
                long.append(task.id)
            else:
                yield trajectory
    if short or long:
        logger.warning(
            "of %d gold paths, %d are left out: %d do not reach the full score (%s), %d take more turns "
            "than their step limit (%s)",
            len(tasks),
            len(short) + len(long),
            len(short),
            ", ".join(short) or "none",
            len(long),
            ", ".join(long) or "none",
        )


def _play(environment: ScienceWorldEnvironment, task: Task, path: Sequence[str]) -> Trajectory:
    description = environment.reset(task)
    steps: list[Step] = []
    reward = 0.0
    for action in path:
        result = environment.step(action)
        steps.append(Step(thought(description, action), action, result.observation))
        reward = result.reward
        if result.done:
            break
    return Trajectory(identify("expert", task.id, "gold_path"), task, description, steps, reward)
