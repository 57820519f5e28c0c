"""A stage is a set of independent units of work, each journalled as it ends."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sand_dagster.sand.interfaces import EnvironmentDied

Row = dict[str, Any]
"""A row of a table, as the table's schema names its columns."""

_ATTEMPTS = 3
_log = logging.getLogger(__name__)


class Journal(Protocol):
    """Finished units by the hash of their inputs; survives a killed process."""

    def get(self, key: str) -> dict[str, Any] | None: ...

    def put(self, key: str, value: dict[str, Any]) -> None: ...


class Progress(Protocol):
    """Told of every finished unit: how many of how many, and the outcomes counted so far."""

    def __call__(self, done: int, total: int, outcomes: Counter[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Stage:
    """What every stage needs: where finished units are kept, how many run at once, whom to tell.

    `iteration` and `seed` go into every sampling seed that the stage derives.
    """

    journal: Journal
    in_flight: int
    progress: Progress
    iteration: str
    seed: int


@dataclass(slots=True)
class Finished:
    """What the units gave, in the units' order, and how they came by it."""

    rows: list[list[Row]]
    outcomes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: `key` is the hash of all that determines its result."""

    key: str
    work: Callable[[], Awaitable[tuple[list[Row], str]]]
    """Gives the unit's rows and its outcome, a word to count by."""


async def run_units(stage: Stage, units: Sequence[Unit]) -> Finished:
    """Run `units`, at most `stage.in_flight` at once; nobody waits for a batch to end.

    Units with a key that the journal holds are taken from there, and equal keys are worked once. A unit
    whose environment's process died is repeated, and counted as `repeated`. The first error of a unit ends
    the stage; what was finished until then is in the journal.
    """
    positions: dict[str, list[int]] = {}
    for position, unit in enumerate(units):
        positions.setdefault(unit.key, []).append(position)
    finished = Finished([[] for _ in units])
    done = 0

    def settle(key: str, rows: list[Row], outcome: str) -> None:
        nonlocal done
        for position in positions[key]:
            finished.rows[position] = rows
            finished.outcomes[outcome] += 1
            done += 1
        stage.progress(done, len(units), finished.outcomes)

    waiting: list[Unit] = []
    for key, places in positions.items():
        kept = stage.journal.get(key)
        if kept is None:
            waiting.append(units[places[0]])
        else:
            settle(key, kept["rows"], kept["outcome"])
    waiting.reverse()

    async def worker() -> None:
        while waiting:
            unit = waiting.pop()
            rows, outcome = await _attempt(unit, finished.outcomes)
            stage.journal.put(unit.key, {"rows": rows, "outcome": outcome})
            settle(unit.key, rows, outcome)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(stage.in_flight, len(waiting))):
                group.create_task(worker())
    except* Exception as errors:
        raise errors.exceptions[0] from None
    return finished


async def _attempt(unit: Unit, outcomes: Counter[str]) -> tuple[list[Row], str]:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await unit.work()
        except EnvironmentDied as died:
            if attempt == _ATTEMPTS:
                raise
            outcomes["repeated"] += 1
            _log.warning("an environment died, the unit is repeated (%d of %d): %s", attempt, _ATTEMPTS, died)
    raise AssertionError("unreachable")
