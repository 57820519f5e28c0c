"""A person at the keyboard, in the same environment and with the same texts as the agent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import closing

from sand_dagster.interfaces import Domain, Environment
from sand_dagster.types import Task

_SUGGESTED = 5


def find_task(tasks: Sequence[Task], wanted: str) -> Task:
    """The task whose id is `wanted`, or the only one whose id contains it; the first for an empty `wanted`.

    Raises:
        ValueError: there is none, or more than one.
    """
    if not tasks:
        raise ValueError("the environment has no tasks")
    exact = [task for task in tasks if task.id == wanted]
    found = exact or [task for task in tasks if wanted in task.id]
    if len(found) == 1 or (found and not wanted):
        return found[0]
    if not found:
        some = "\n  ".join(task.id for task in tasks[:_SUGGESTED])
        raise ValueError(f"no task's id contains {wanted!r}; there are {len(tasks)}, the first:\n  {some}")
    some = "\n  ".join(task.id for task in found[:_SUGGESTED])
    raise ValueError(
        f"the ids of {len(found)} tasks contain {wanted!r}; give more of one. The first:\n  {some}"
    )


def play(
    environment: Environment,
    domain: Domain,
    task: Task,
    read: Callable[[str], str] = input,
    write: Callable[[str], None] = print,
) -> float:
    """Play `task` until it is done, its step limit is reached, or the input ends. Returns the reward.

    `help` shows the prompt of the agent; everything else is an action.
    """
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  gives `input` a history and line editing

    reward, turns = 0.0, 0
    with closing(environment):
        instruction = environment.reset(task)
        write(
            f"{instruction}\n\n[{task.id}, {task.step_limit} turns. `help` shows the actions, Ctrl-D ends.]"
        )
        while turns < task.step_limit:
            try:
                action = read(f"{turns + 1}> ").strip()
            except (EOFError, KeyboardInterrupt):
                write("")
                break
            if not action:
                continue
            if action == "help":
                write(domain.prompt(instruction))
                continue
            result = environment.step(action)
            turns, reward = turns + 1, result.reward
            notes = [f"reward {reward:.2f}"] + ([] if result.valid else ["invalid"])
            write(f"{result.observation}\n[{', '.join(notes)}]")
            if result.done:
                write(f"Done after {turns} turns. Reward: {reward:.2f}")
                return reward
        else:
            write(f"The step limit of {task.step_limit} turns is reached. Reward: {reward:.2f}")
            return reward
    write(f"Ended after {turns} turns. Reward: {reward:.2f}")
    return reward
