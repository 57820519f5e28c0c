"""A worker process of the pool: many episodes of one environment, played on its parent's requests.

`python -m sand_dagster.environments.worker` answers one request after another. It imports nothing heavy,
only the environment that the first request names.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from sand_dagster.environments import EnvironmentKind, environment_kind
from sand_dagster.execution.parent import Message, Parent
from sand_dagster.interfaces import Environment, EnvironmentDied, ReplayMismatch
from sand_dagster.scratch import remove_own
from sand_dagster.types import Task

_PARKED = 256
_PAGE = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """An environment parked after `observations`; it is forked, never stepped."""

    environment: Environment
    instruction: str
    observations: tuple[str, ...]


class _Parking:
    """Snapshots by (task, actions), the least recently used dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._snapshots: OrderedDict[tuple[str, tuple[str, ...]], _Snapshot] = OrderedDict()

    def deepest(self, task: str, actions: tuple[str, ...]) -> _Snapshot | None:
        """The snapshot of `task` at the longest known beginning of `actions`."""
        for length in range(len(actions), -1, -1):
            key = (task, actions[:length])
            if key in self._snapshots:
                self._snapshots.move_to_end(key)
                return self._snapshots[key]
        return None

    def park(self, task: str, actions: tuple[str, ...], snapshot: _Snapshot) -> None:
        self._snapshots[(task, actions)] = snapshot
        if len(self._snapshots) > self._size:
            self._snapshots.popitem(last=False)[1].environment.close()

    def close(self) -> None:
        for snapshot in self._snapshots.values():
            snapshot.environment.close()
        self._snapshots.clear()


class Worker:
    """The episodes of one process.

    Two attributes of an environment's class decide how it is kept: `cheap_fork` (forking costs much less
    than a replay, so prefixes are parked and forked) and `exclusive` (it holds something large, such as a
    JVM: one episode at a time, and the object is used again for the next one).
    """

    def __init__(self, kind: EnvironmentKind, options: BaseModel, home: Path) -> None:
        self._kind, self._options, self._home = kind, options, home
        first = kind.make(options, home)
        self.exclusive = bool(getattr(first, "exclusive", False))
        self.cheap_fork = bool(getattr(first, "cheap_fork", False))
        self._vacant: list[Environment] = [first]
        self._episodes: dict[int, Environment] = {}
        self._parking = _Parking(_PARKED if self.cheap_fork else 0)
        self._counts = {"resets": 0, "forks": 0, "replayed": 0}

    def answer(self, request: Message) -> Message:
        """Do what the request asks; an error becomes an answer that carries it to the parent."""
        reply: Message
        try:
            match request["op"]:
                case "open":
                    reply = self._open(request)
                case "step":
                    result = self._episodes[request["episode"]].step(request["action"])
                    reply = {
                        "observation": result.observation,
                        "reward": result.reward,
                        "done": result.done,
                        "valid": result.valid,
                    }
                case "close":
                    if (environment := self._episodes.pop(request["episode"], None)) is not None:
                        self._vacate(environment)
                    reply = {}
                case "cancel":
                    reply = {}  # requests are answered in order, so that one is already answered
                case other:
                    raise ValueError(f"the worker knows open, step and close, not {other!r}")
        except ReplayMismatch as error:
            reply = {
                "error": "mismatch",
                "index": error.index,
                "action": error.action,
                "expected": error.expected,
                "found": error.found,
            }
        except EnvironmentDied as error:
            reply = {"error": "died", "message": str(error)}
        except Exception as error:
            reply = {
                "error": "failed",
                "message": f"{type(error).__name__}: {error}",
                "traceback": traceback.format_exc(),
            }
        return reply

    def close(self) -> None:
        """Close every environment."""
        for environment in [*self._episodes.values(), *self._vacant]:
            environment.close()
        self._parking.close()

    def _open(self, request: Message) -> Message:
        task, prefix = Task(**request["task"]), request["prefix"]
        environment, instruction = (self._fork if self.cheap_fork else self._start)(task, prefix)
        self._episodes[request["episode"]] = environment
        return {"instruction": instruction, "counts": {"rss": _resident_bytes(), **self._counts}}

    def _start(self, task: Task, prefix: Sequence[Sequence[str]]) -> tuple[Environment, str]:
        """A reset environment in which `prefix` was replayed, and its instruction."""
        environment = self._vacant.pop() if self._vacant else self._kind.make(self._options, self._home)
        try:
            instruction = self._reset(environment, task)
            for index, recorded in enumerate(prefix):
                _check(task.id, index, recorded, self._replay(environment, recorded[0]))
        except BaseException:
            self._vacate(environment)
            raise
        return environment, instruction

    def _fork(self, task: Task, prefix: Sequence[Sequence[str]]) -> tuple[Environment, str]:
        """The same, from the parked state at the longest known beginning of `prefix`.

        One environment is reset for all tasks: the games that it keeps open are used by all forks.
        """
        key = json.dumps([task.id, task.environment, task.step_limit, task.spec], sort_keys=True)
        actions = tuple(action for action, _ in prefix)
        parked = self._parking.deepest(key, actions)
        if parked is None:
            (origin,) = self._vacant
            instruction = self._reset(origin, task)
            parked = _Snapshot(origin.fork(), instruction, ())
            self._parking.park(key, (), parked)
        else:
            self._counts["forks"] += 1
        for index, observation in enumerate(parked.observations):
            _check(task.id, index, prefix[index], observation)
        environment, seen = parked.environment.fork(), list(parked.observations)
        try:
            for index in range(len(seen), len(prefix)):
                seen.append(self._replay(environment, actions[index]))
                _check(task.id, index, prefix[index], seen[-1])
        except BaseException:
            environment.close()
            raise
        if len(seen) > len(parked.observations):
            self._parking.park(key, actions, _Snapshot(environment.fork(), parked.instruction, tuple(seen)))
        return environment, parked.instruction

    def _reset(self, environment: Environment, task: Task) -> str:
        self._counts["resets"] += 1
        return environment.reset(task)

    def _replay(self, environment: Environment, action: str) -> str:
        if not action:
            # A recorded turn whose reply held no action never reached the environment.
            return self._kind.DOMAIN.refusal
        self._counts["replayed"] += 1
        return environment.step(action).observation

    def _vacate(self, environment: Environment) -> None:
        if self.exclusive and not self._vacant:
            self._vacant.append(environment)
        else:
            environment.close()


def _check(task_id: str, index: int, recorded: Sequence[str], found: str) -> None:
    action, expected = recorded
    if found != expected:
        raise ReplayMismatch(task_id, index, action, expected, found)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def main() -> None:
    """Serve until the parent is done."""
    parent = Parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _serve(parent)
    finally:
        remove_own()


def _serve(parent: Parent) -> None:
    """Answer its requests. The first one names the environment, its options and `home`."""
    requests = parent.requests()
    if (first := next(requests, None)) is None:
        return
    kind = environment_kind(first["kind"])
    worker = Worker(kind, kind.Options.model_validate_json(first["options"]), Path(first["home"]))
    try:
        parent.answer(first, {"exclusive": worker.exclusive})
        for request in requests:
            parent.answer(request, worker.answer(request))
    except BrokenPipeError:
        pass  # the parent is gone
    finally:
        worker.close()


if __name__ == "__main__":
    main()
