"""The pool's side of a worker process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from sand_dagster.execution.child import Child, ChildDied
from sand_dagster.execution.parent import Message
from sand_dagster.interfaces import EnvironmentDied, ReplayMismatch
from sand_dagster.types import Step, StepResult, Task

_START_S = 120.0


class EnvironmentFailed(Exception):
    """The environment raised an error; `worker_traceback` is the worker process's traceback."""

    def __init__(self, task_id: str, message: str, worker_traceback: str) -> None:
        super().__init__(f"task {task_id}: {message}\n\nIn the worker process:\n{worker_traceback}")
        self.task_id, self.worker_traceback = task_id, worker_traceback


class WorkerProcess:
    """A running `sand_dagster.environments.worker`. Made by `start`, ended by `stop`.

    `open` and `step` raise:
        ReplayMismatch: an observation of the prefix differs from the recorded one.
        EnvironmentDied: the process, or the simulator that it holds, ended.
        EnvironmentFailed: the environment raised an error.
    """

    def __init__(self, child: Child, exclusive: bool) -> None:
        self._child = child
        self.exclusive = exclusive
        """Whether it plays one episode at a time."""
        self.episodes = 0
        """Episodes that the pool has open here."""
        self.counts = {"rss": 0, "resets": 0, "forks": 0, "replayed": 0}
        """Its resident bytes, and what it had done, when it last opened an episode."""
        self.death_counted = False
        """Whether the pool has counted its death."""

    @classmethod
    async def start(cls, kind: str, options: str, home: Path, silence_s: float) -> Self:
        """Start a worker for `kind` with `options` (JSON) and wait until it is ready.

        It is killed if it does not answer a request for `silence_s`.

        Raises:
            RuntimeError: it could not start; the message contains its standard error.
        """
        child = await Child.start("sand_dagster.environments.worker", "worker")
        child.silence_s = max(silence_s, _START_S)
        try:
            ready = await child.ask("start", kind=kind, options=options, home=str(home))
        except ChildDied as error:
            raise RuntimeError(f"a worker for the environment {kind!r} could not start: {error}") from error
        except BaseException:
            await child.stop(grace_s=0)
            raise
        child.silence_s = silence_s
        return cls(child, ready["exclusive"])

    @property
    def alive(self) -> bool:
        """Whether it can still answer."""
        return self._child.alive

    @property
    def pid(self) -> int:
        return self._child.pid

    async def open(self, episode: int, task: Task, prefix: Sequence[Step]) -> str:
        """Start `task` as `episode` and replay `prefix`; returns the instruction."""
        # A replay needs no thoughts.
        recorded = [[step.action, step.observation] for step in prefix]
        reply = await self._ask(task.id, "open", episode=episode, task=_task_message(task), prefix=recorded)
        self.counts = reply["counts"]
        instruction: str = reply["instruction"]
        return instruction

    async def step(self, episode: int, task_id: str, action: str) -> StepResult:
        """Execute one action in `episode`, which plays the task `task_id`."""
        reply = await self._ask(task_id, "step", episode=episode, action=action)
        return StepResult(reply["observation"], reply["reward"], reply["done"], reply["valid"])

    def close(self, episode: int) -> None:
        """End `episode`."""
        self._child.send("close", episode=episode)

    async def stop(self) -> None:
        """End the process and all processes that it started. Idempotent."""
        await self._child.stop()

    async def _ask(self, task_id: str, op: str, **fields: object) -> Message:
        try:
            reply = await self._child.ask(op, **fields)
        except ChildDied as error:
            raise EnvironmentDied(f"task {task_id}: {error}") from None
        match reply.get("error"):
            case None:
                return reply
            case "mismatch":
                raise ReplayMismatch(
                    task_id, reply["index"], reply["action"], reply["expected"], reply["found"]
                )
            case "died":
                raise EnvironmentDied(f"task {task_id}: {reply['message']}")
            case _:
                raise EnvironmentFailed(task_id, reply["message"], reply["traceback"])


def _task_message(task: Task) -> Message:
    return {
        "id": task.id,
        "environment": task.environment,
        "split": task.split,
        "kind": task.kind,
        "step_limit": task.step_limit,
        "spec": dict(task.spec),
    }
