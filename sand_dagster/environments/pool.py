"""Many episodes on a few worker processes, with one asynchronous interface (`Environments`)."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel

from sand_dagster.environments.worker_process import EnvironmentFailed, WorkerProcess
from sand_dagster.interfaces import EnvironmentDied
from sand_dagster.types import Step, StepResult, Task

__all__ = ["EnvironmentFailed", "EnvironmentPool", "PoolCounts"]

_REMEMBERED_TASKS = 10_000
_IMBALANCE = 8
"""A worker that knows a task is preferred while it has at most this many more episodes than another."""


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """What a pool did. `forks` counts episodes opened from a parked prefix, `resets` those from the start;
    `replayed` are the recorded actions executed again; `died` counts workers, and environments in living
    workers, that ended on their own; `recycled` workers were replaced before they grew."""

    opened: int
    resets: int
    forks: int
    replayed: int
    died: int
    recycled: int


@dataclass(eq=False)
class _Place:
    """A worker's place in the pool, which outlives the worker."""

    worker: WorkerProcess | None = None
    episodes: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class _Episode:
    """An episode on a worker. See `Episode`."""

    def __init__(
        self, pool: EnvironmentPool, place: _Place, worker: WorkerProcess, key: int, task_id: str
    ) -> None:
        self._pool, self._place, self._worker, self._key, self._task_id = pool, place, worker, key, task_id
        self._open = True
        self.instruction = ""

    async def step(self, action: str) -> StepResult:
        """Execute one action.

        Raises:
            EnvironmentDied: the worker, or the simulator that it holds, ended.
            EnvironmentFailed: the environment raised an error.
        """
        if not self._open:
            raise ValueError(f"task {self._task_id}: the episode was closed")
        with self._pool._counting_deaths(self._worker):
            return await self._worker.step(self._key, self._task_id, action)

    async def close(self) -> None:
        """Free the place. Idempotent; an episode that is never closed keeps its place."""
        if self._open:
            self._open = False
            self._worker.close(self._key)
            self._pool._episode_closed(self._place, self._worker)


class EnvironmentPool:
    """Episodes of the environment `kind` on `workers` processes.

    ```python
    async with EnvironmentPool("household", options, home, workers=2) as pool:
        episode = await pool.open(task, prefix)
        result = await episode.step("go to sinkbasin 1")
        await episode.close()
    ```

    Args:
        kind: an environment of this package, or the dotted name of a module that offers what
            `EnvironmentKind` names.
        options: the kind's `Options`.
        home: `$SAND_HOME`.
        workers: how many processes.
        max_open: how many episodes may be open at once; beyond it `open` waits. Environments that hold
            their own process (ScienceWorld's JVM) have one for each worker.
        memory_limit: resident bytes of a worker after which it is recycled: it plays its open
            episodes to their end, and a new worker takes the new ones.
        max_resets: a worker is also recycled after this many resets.
        silence_s: a worker that does not answer a request for so long is killed.
    """

    def __init__(
        self,
        kind: str,
        options: BaseModel,
        home: Path,
        workers: int,
        *,
        max_open: int = 4096,
        memory_limit: int = 1 << 30,
        max_resets: int = 5_000,
        silence_s: float = 300.0,
    ) -> None:
        if workers < 1:
            raise ValueError(f"a pool needs at least one worker, not {workers}")
        self._kind, self._options, self._home = kind, options.model_dump_json(), home
        self._memory_limit, self._max_resets, self._silence_s = memory_limit, max_resets, silence_s
        self._places = [_Place() for _ in range(workers)]
        self._max_open, self._exclusive = max_open, False
        self._room = asyncio.Semaphore(max_open)
        self._known: OrderedDict[str, _Place] = OrderedDict()
        self._keys = count()
        self._opened = self._died = self._recycled = 0
        self._past = {"resets": 0, "forks": 0, "replayed": 0}
        self._retiring: set[WorkerProcess] = set()
        self._endings: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        try:
            # Wait for all of them, so that none is still starting when the first error ends the others.
            started = await asyncio.gather(
                *(self._worker_at(place) for place in self._places), return_exceptions=True
            )
            for failure in started:
                if isinstance(failure, BaseException):
                    raise failure
        except BaseException:
            await self.close()
            raise
        self._exclusive = any(place.worker is not None and place.worker.exclusive for place in self._places)
        if self._exclusive:
            self._room = asyncio.Semaphore(min(len(self._places), self._max_open))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self, task: Task, prefix: Sequence[Step] = ()) -> _Episode:
        """Start `task` and replay `prefix`, checking every observation against the recorded one.

        A step with an empty action stands for a reply without an action: it does not reach the environment,
        and its observation has to be the domain's refusal. Waits while `max_open` episodes are open.

        Raises:
            ReplayMismatch: an observation differs.
            EnvironmentDied: the worker, or the simulator that it holds, ended.
            EnvironmentFailed: the environment raised an error.
        """
        await self._room.acquire()
        place = self._choose(task.id)
        place.episodes += 1
        try:
            worker = await self._worker_at(place)
        except BaseException:
            place.episodes -= 1
            self._room.release()
            raise
        worker.episodes += 1
        episode = _Episode(self, place, worker, next(self._keys), task.id)
        try:
            with self._counting_deaths(worker):
                episode.instruction = await worker.open(episode._key, task, prefix)
        except BaseException:
            await episode.close()
            raise
        self._opened += 1
        return episode

    async def close(self) -> None:
        """End every worker. Episodes that are still open end with EnvironmentDied."""
        workers = [*self._retiring, *(place.worker for place in self._places if place.worker is not None)]
        self._retiring.clear()
        for place in self._places:
            place.worker = None
        await asyncio.gather(*(self._end(worker) for worker in workers), *self._endings)

    @property
    def counts(self) -> PoolCounts:
        """What the pool did so far."""
        workers = [*self._retiring, *(place.worker for place in self._places if place.worker is not None)]
        totals = {name: past + sum(w.counts[name] for w in workers) for name, past in self._past.items()}
        return PoolCounts(
            self._opened, totals["resets"], totals["forks"], totals["replayed"], self._died, self._recycled
        )

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that take new episodes."""
        return [place.worker.pid for place in self._places if place.worker is not None]

    def _choose(self, task_id: str) -> _Place:
        """The place that opened this task before, as long as it is not much busier than another."""
        least_busy = min(self._places, key=lambda place: place.episodes)
        place = self._known.get(task_id, least_busy)
        if (self._exclusive and place.episodes) or place.episodes > least_busy.episodes + _IMBALANCE:
            place = least_busy
        self._known[task_id] = place
        self._known.move_to_end(task_id)
        if len(self._known) > _REMEMBERED_TASKS:
            self._known.popitem(last=False)
        return place

    async def _worker_at(self, place: _Place) -> WorkerProcess:
        """The place's worker; a new one if there is none, or if it has died or grown too large."""
        async with place.lock:
            worker = place.worker
            if worker is not None and not worker.alive:
                self._count_death(worker)
                self._remember(worker)
                worker = None
            elif worker is not None and self._grown(worker):
                self._recycled += 1
                self._retiring.add(worker)
                self._end_when_idle(worker)
                worker = None
            if worker is None:
                place.worker = None
                worker = place.worker = await WorkerProcess.start(
                    self._kind, self._options, self._home, self._silence_s
                )
            return worker

    def _grown(self, worker: WorkerProcess) -> bool:
        heavy = worker.counts["rss"] > self._memory_limit
        return heavy or worker.counts["resets"] >= self._max_resets

    @contextmanager
    def _counting_deaths(self, worker: WorkerProcess) -> Iterator[None]:
        try:
            yield
        except EnvironmentDied:
            self._count_death(worker)
            raise

    def _count_death(self, worker: WorkerProcess) -> None:
        if not worker.death_counted:
            self._died += 1
            worker.death_counted = not worker.alive

    def _episode_closed(self, place: _Place, worker: WorkerProcess) -> None:
        place.episodes -= 1
        worker.episodes -= 1
        self._room.release()
        self._end_when_idle(worker)

    def _end_when_idle(self, worker: WorkerProcess) -> None:
        if worker in self._retiring and worker.episodes == 0:
            self._retiring.discard(worker)
            self._later(self._end(worker))

    async def _end(self, worker: WorkerProcess) -> None:
        self._remember(worker)
        await worker.stop()

    def _remember(self, worker: WorkerProcess) -> None:
        for name in self._past:
            self._past[name] += worker.counts[name]

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
