"""A stage is a set of independent units of work. Each is journalled when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from sand_dagster.ids import digest
from sand_dagster.interfaces import EnvironmentDied, GeneratorDied
from sand_dagster.rows.plain import plain, typed
from sand_dagster.rows.row import Row

R = TypeVar("R", bound=Row)
_ATTEMPTS = 3
_log = logging.getLogger(__name__)


class Journal(Protocol):
    """Finished units by the hash of their inputs; survives a killed process."""

    def get(self, key: str) -> dict[str, Any] | None: ...

    def put(self, key: str, value: dict[str, Any]) -> None: ...

    def __contains__(self, key: object) -> bool: ...


class MemoryJournal(dict[str, dict[str, Any]]):
    """A journal that ends with the process."""

    def put(self, key: str, value: dict[str, Any]) -> None:
        self[key] = value


class Progress(Protocol):
    """Called after every finished unit: how many of how many, and the outcomes counted so far."""

    def __call__(self, done: int, total: int, outcomes: Counter[str]) -> None: ...


def no_progress(done: int, total: int, outcomes: Counter[str]) -> None:
    """Progress that is not shown."""


@dataclass(slots=True)
class Trial:
    """A part of a stage: its first `limit` units. With 0, only the journalled units are counted."""

    limit: int
    total: int = 0
    journalled: int = 0
    rows: Sequence[Row] = ()

    @property
    def to_do(self) -> int:
        """Units that are not in the journal."""
        return self.total - self.journalled


@dataclass(frozen=True, slots=True)
class Stage:
    """What every stage needs: the journal, the number of units at once, and the progress.

    `iteration` and `seed` are part of every sampling seed that the stage derives. `identity` is the hash of
    everything that decides the stage's rows, except the inputs of its units; with a `trial` only a part is
    done.
    """

    journal: Journal
    max_concurrency: int
    progress: Progress
    iteration: str
    seed: int
    identity: str = ""
    trial: Trial | None = None

    def key(self, *inputs: object) -> str:
        """The key of a unit: the stage's identity, and everything that the unit is made from."""
        return digest(self.identity, self.iteration, *inputs)


@dataclass(frozen=True, slots=True)
class Finished(Generic[R]):
    """The units' results: the rows of each, in the units' order, and the counts.

    `rows` are read from the journal during iteration, any number of times while it is open. So a stage's rows
    need never be in memory together.
    """

    rows: Iterable[list[R]]
    outcomes: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    """Units that the journal held before."""


@dataclass(frozen=True, slots=True)
class _Journalled(Generic[R]):
    journal: Journal
    keys: Sequence[str]
    kind: type[R]

    def __iter__(self) -> Iterator[list[R]]:
        for key in self.keys:
            kept = self.journal.get(key)
            assert kept is not None, f"the journal lost the unit {key}"
            yield [typed(self.kind, values) for values in kept["rows"]]


@dataclass(frozen=True, slots=True)
class Unit(Generic[R]):
    """One piece of work: `key` (see `Stage.key`) is the hash of all that determines its result."""

    key: str
    work: Callable[[], Awaitable[tuple[list[R], str]]]
    """Returns the unit's rows and its outcome, a word that is counted."""


async def run_units(stage: Stage, kind: type[R], units: Iterable[Unit[R]], total: int) -> Finished[R]:
    """Run `units`, `total` in all, at most `stage.max_concurrency` at once; none waits for a batch to end.

    Their rows, of a `kind`, are in the journal as plain values.

    A unit is taken from `units` only when its turn comes, so its content, such as a prompt, is in memory
    only while it is worked on. Units whose key is in the journal are taken from there, and equal keys are
    done once. A unit whose environment or engine died is repeated, and counted as `repeated`. The first error
    of a unit ends the stage; units that were finished before are in the journal.
    """
    if stage.trial is None:
        return await _run(stage, kind, units, total)
    stage.trial.total = total
    if stage.trial.limit:
        tried = await _run(stage, kind, islice(units, stage.trial.limit), min(total, stage.trial.limit))
        stage.trial.rows = [row for rows in tried.rows for row in rows]
    else:
        stage.trial.journalled = sum(unit.key in stage.journal for unit in units)
    return Finished(())


async def _run(stage: Stage, kind: type[R], units: Iterable[Unit[R]], total: int) -> Finished[R]:
    keys: list[str] = []
    outcomes: Counter[str] = Counter()
    worked: Counter[str] = Counter()
    done = reused = 0
    taken = iter(units)

    def settle(outcome: str, times: int) -> None:
        nonlocal done
        outcomes[outcome] += times
        done += times
        stage.progress(done, total, outcomes)

    async def worker() -> None:
        nonlocal reused
        for unit in taken:
            keys.append(unit.key)
            kept = stage.journal.get(unit.key)
            if kept is not None:
                reused += 1
                settle(kept["outcome"], 1)
                continue
            worked[unit.key] += 1
            if worked[unit.key] > 1:
                continue
            rows, outcome = await _attempt(unit, outcomes)
            stage.journal.put(unit.key, {"rows": [plain(row) for row in rows], "outcome": outcome})
            settle(outcome, worked.pop(unit.key))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(stage.max_concurrency, total)):
                group.create_task(worker())
    except* Exception as errors:
        raise errors.exceptions[0] from None
    return Finished(_Journalled(stage.journal, keys, kind), outcomes, reused)


async def _attempt(unit: Unit[R], outcomes: Counter[str]) -> tuple[list[R], str]:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await unit.work()
        except (EnvironmentDied, GeneratorDied) as died:
            if attempt == _ATTEMPTS:
                raise
            outcomes["repeated"] += 1
            what = "an environment" if isinstance(died, EnvironmentDied) else "an engine"
            _log.warning("%s died, the unit is repeated (%d of %d): %s", what, attempt, _ATTEMPTS, died)
    raise AssertionError("unreachable")
