import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sand_dagster.execution.units import Stage, Unit, run_units
from sand_dagster.interfaces import EnvironmentDied
from sand_dagster.rows.row import Row
from tests.sand.scripted import MemoryJournal, stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked(Row):
    """A finished unit."""

    key: str


def _unit(key: str, log: list[str], delay: float = 0.0) -> Unit[Worked]:
    async def work() -> tuple[list[Worked], str]:
        log.append(key)
        await asyncio.sleep(delay)
        return [Worked(key=key)], "ok"

    return Unit(key, work)


async def test_rows_come_in_the_units_order_whoever_ends_first() -> None:
    log: list[str] = []
    units = [_unit("a", log, 0.03), _unit("b", log), _unit("c", log, 0.01)]
    finished = await run_units(stage(), Worked, units, 3)
    assert [rows[0].key for rows in finished.rows] == ["a", "b", "c"]
    assert finished.outcomes == Counter(ok=3)


async def test_equal_work_is_done_once_and_counted_for_each() -> None:
    log: list[str] = []
    finished = await run_units(stage(), Worked, [_unit("a", log), _unit("b", log), _unit("a", log)], 3)
    assert sorted(log) == ["a", "b"]
    assert [rows[0].key for rows in finished.rows] == ["a", "b", "a"]


async def test_equal_work_under_way_is_waited_for() -> None:
    log: list[str] = []
    units = [_unit("a", log, 0.02), _unit("a", log), _unit("b", log)]
    finished = await run_units(stage(), Worked, units, 3)
    assert log == ["a", "b"]
    assert finished.outcomes == Counter(ok=3)


async def test_a_unit_is_made_when_its_turn_has_come() -> None:
    made = 0

    def units() -> Iterator[Unit[Worked]]:
        nonlocal made
        for number in range(20):
            made += 1
            yield _unit(str(number), [], 0.001)

    def no_more_than_in_flight(done: int, total: int, outcomes: Counter[str]) -> None:
        assert made - done < 4

    quiet = stage()
    await run_units(Stage(quiet.journal, 4, no_more_than_in_flight, "01", 0), Worked, units(), 20)
    assert made == 20


async def test_finished_units_are_taken_from_the_journal() -> None:
    journal, log = MemoryJournal(), list[str]()
    await run_units(stage(journal=journal), Worked, [_unit("a", log)], 1)
    finished = await run_units(stage(journal=journal), Worked, [_unit("a", log), _unit("b", log)], 2)
    assert log == ["a", "b"]
    assert [rows[0].key for rows in finished.rows] == ["a", "b"]


async def test_no_more_than_the_bound_are_in_flight() -> None:
    now, most = 0, 0

    async def work() -> tuple[list[Worked], str]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return [], "ok"

    await run_units(stage(max_concurrency=3), Worked, [Unit(str(n), work) for n in range(20)], 20)
    assert most == 3


async def test_an_error_ends_the_stage_and_keeps_what_was_finished() -> None:
    journal = MemoryJournal()

    async def fails() -> tuple[list[Worked], str]:
        await asyncio.sleep(0.01)
        raise ValueError("this unit is broken")

    units = [_unit("a", []), Unit("b", fails), _unit("c", [], 1.0)]
    with pytest.raises(ValueError, match="this unit is broken"):
        await run_units(stage(journal=journal), Worked, units, 3)
    assert list(journal) == ["a"]


async def test_a_unit_whose_environment_died_is_repeated_and_counted() -> None:
    failures = iter([True, True, False])

    async def work() -> tuple[list[Worked], str]:
        if next(failures):
            raise EnvironmentDied("killed")
        return [Worked(key="a")], "done"

    finished = await run_units(stage(), Worked, [Unit("a", work)], 1)
    assert finished.outcomes == Counter(repeated=2, done=1)


async def test_a_unit_whose_environment_dies_every_time_is_an_error() -> None:
    async def work() -> tuple[list[Worked], str]:
        raise EnvironmentDied("killed again")

    with pytest.raises(EnvironmentDied, match="killed again"):
        await run_units(stage(), Worked, [Unit("a", work)], 1)


async def test_progress_tells_of_every_unit() -> None:
    told: list[tuple[int, int]] = []
    quiet = stage()
    telling = Stage(quiet.journal, 2, lambda done, total, _: told.append((done, total)), "01", 0)
    await run_units(telling, Worked, [_unit(str(n), []) for n in range(3)], 3)
    assert told == [(1, 3), (2, 3), (3, 3)]
