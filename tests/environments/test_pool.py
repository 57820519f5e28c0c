import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import BaseModel

from sand_dagster.environments.pool import EnvironmentFailed, EnvironmentPool
from sand_dagster.interfaces import EnvironmentDied, ReplayMismatch
from sand_dagster.types import Step, Task
from tests.processes import gone

COUNTER = """
import os, signal, sys, time
from pydantic import BaseModel
from sand_dagster.types import StepResult


class Options(BaseModel):
    cheap_fork: bool = True
    exclusive: bool = False
    fails: bool = False


class DOMAIN:
    refusal = "No action."
    opening = ""


class Counter:
    def __init__(self, options):
        self.cheap_fork, self.exclusive, self.count = options.cheap_fork, options.exclusive, 0

    def reset(self, task):
        self.count = int(task.spec.get("from", 0))
        return f"Count from {self.count} in {os.getpid()}"

    def step(self, action):
        match action:
            case "crash":
                print("about to crash", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise KeyError("no such number")
            case "hang":
                time.sleep(60)
            case "print":
                print("noise on standard output", flush=True)
                os.system("echo more noise")
        self.count += 1
        return StepResult(str(self.count), self.count / 100, self.count >= 100, True)

    def fork(self):
        copy = object.__new__(Counter)
        copy.__dict__.update(self.__dict__)
        return copy

    def close(self):
        pass


def make(options, home):
    if options.fails:
        raise RuntimeError("the games are missing")
    return Counter(options)
"""


class CounterOptions(BaseModel):
    cheap_fork: bool = True
    exclusive: bool = False
    fails: bool = False


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "fakes").mkdir()
    (tmp_path / "fakes" / "counter.py").write_text(COUNTER)
    monkeypatch.syspath_prepend(tmp_path)
    return "fakes.counter"


def counting(name: str = "a", start: int = 0) -> Task:
    return Task(name, "counter", "train", "count", 10, {"from": start})


def ups(n: int) -> list[Step]:
    return [Step("", "up", str(i + 1)) for i in range(n)]


async def test_episodes_are_independent_and_multiplexed(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=2) as pool:
        episodes = [await pool.open(counting(f"task {i}", 10 * i)) for i in range(8)]
        results = await asyncio.gather(*(e.step("up") for e in episodes))
        assert [r.observation for r in results] == [str(10 * i + 1) for i in range(8)]
        used = {e.instruction.rpartition(" ")[2] for e in episodes}
        assert len(used) == 2, "eight tasks on two workers use both"
        for episode in episodes:
            await episode.close()
    assert all(gone(int(pid), within=10.0) for pid in used)


async def test_a_prefix_is_forked_from_the_longest_parked_one(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=2) as pool:
        first, again = await pool.open(counting(), ups(5)), await pool.open(counting(), ups(5))
        longer = await pool.open(counting(), ups(7))
        assert [(await e.step("up")).observation for e in (first, again, longer)] == ["6", "6", "8"]
        assert (await (await pool.open(counting())).step("up")).observation == "1"
        assert (pool.counts.resets, pool.counts.forks, pool.counts.replayed) == (1, 3, 7)


async def test_without_a_cheap_fork_every_open_replays(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(cheap_fork=False), tmp_path, workers=1) as pool:
        for _ in range(2):
            assert (await (await pool.open(counting(), ups(5))).step("up")).observation == "6"
        assert (pool.counts.resets, pool.counts.forks, pool.counts.replayed) == (2, 0, 10)


@pytest.mark.parametrize("known", [False, True], ids=["replayed", "parked"])
async def test_a_mismatch_holds_both_texts(kind: str, tmp_path: Path, known: bool) -> None:
    prefix = [*ups(2), Step("", "up", "four")]
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=1) as pool:
        if known:
            await pool.open(counting(), ups(3))
        with pytest.raises(ReplayMismatch) as caught:
            await pool.open(counting(), prefix)
        assert (caught.value.task_id, caught.value.index) == ("a", 2)
        assert (caught.value.expected, caught.value.found) == ("four", "3")
        assert (await (await pool.open(counting(), ups(3))).step("up")).observation == "4"


async def test_a_step_without_an_action_is_answered_by_the_domain(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=1) as pool:
        episode = await pool.open(counting(), [*ups(1), Step("hm", "", "No action.")])
        assert (await episode.step("up")).observation == "2"
        with pytest.raises(ReplayMismatch, match="No action"):
            await pool.open(counting(), [Step("hm", "", "1")])


async def test_a_dead_worker_is_named_and_replaced(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=1) as pool:
        crashing, bystander = await pool.open(counting("a")), await pool.open(counting("b"))
        with pytest.raises(EnvironmentDied, match=r"(?s)task a: .*SIGKILL.*about to crash"):
            await crashing.step("crash")
        with pytest.raises(EnvironmentDied, match="task b: "):
            await bystander.step("up")
        for episode in (crashing, bystander):
            await episode.close()
        assert (await (await pool.open(counting("a"), ups(3))).step("up")).observation == "4"
        assert pool.counts.died == 1


async def test_a_worker_killed_between_requests_is_replaced(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=2) as pool:
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
            assert await asyncio.to_thread(gone, pid)
        await asyncio.sleep(0.2)
        episodes = await asyncio.gather(*(pool.open(counting(str(i))) for i in range(6)))
        assert [(await e.step("up")).observation for e in episodes] == ["1"] * 6


async def test_a_silent_worker_is_killed(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=1, silence_s=3.0) as pool:
        episode = await pool.open(counting())
        with pytest.raises(EnvironmentDied, match="answered nothing for 3 s"):
            await episode.step("hang")


async def test_errors_of_the_environment_come_back(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=1) as pool:
        episode = await pool.open(counting())
        with pytest.raises(EnvironmentFailed, match=r"(?s)task a: KeyError: 'no such number'.*counter\.py"):
            await episode.step("raise")
        assert (await episode.step("up")).observation == "1"


async def test_printing_libraries_do_not_disturb(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=1) as pool:
        episode = await pool.open(counting())
        assert [(await episode.step("print")).observation for _ in range(3)] == ["1", "2", "3"]


async def test_a_worker_that_cannot_start_says_why(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)could not start.*exit status 1.*the games are missing"):
        async with EnvironmentPool(kind, CounterOptions(fails=True), tmp_path, workers=2):
            pass


async def test_workers_are_recycled_and_open_episodes_play_on(kind: str, tmp_path: Path) -> None:
    options = CounterOptions(cheap_fork=False)
    async with EnvironmentPool(kind, options, tmp_path, workers=1, max_resets=2) as pool:
        (old,) = pool.pids
        long = await pool.open(counting("long"), ups(2))
        for _ in range(2):
            await (await pool.open(counting("short"))).close()
        (new,) = pool.pids
        assert new != old
        assert (await long.step("up")).observation == "3"
        await long.close()
        assert await asyncio.to_thread(gone, old)
        assert pool.counts.recycled == 1
        assert pool.counts.resets == 3


async def test_open_waits_where_too_many_are_open(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=1, max_open=2) as pool:
        held = [await pool.open(counting(str(i))) for i in range(2)]
        waiting = asyncio.create_task(pool.open(counting("third")))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await held[0].close()
        await held[0].close()
        episode = await waiting
        assert (await episode.step("up")).observation == "1"
        with pytest.raises(ValueError, match="closed"):
            await held[0].step("up")


async def test_exclusive_environments_have_a_worker_each(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(
        kind, CounterOptions(cheap_fork=False, exclusive=True), tmp_path, workers=2
    ) as pool:
        open_now, most = 0, 0

        async def play(i: int) -> str:
            nonlocal open_now, most
            episode = await pool.open(counting(str(i % 3), i))
            open_now += 1
            most = max(most, open_now)
            observation = (await episode.step("up")).observation
            await asyncio.sleep(0.01)
            open_now -= 1
            await episode.close()
            return observation

        assert await asyncio.gather(*(play(i) for i in range(12))) == [str(i + 1) for i in range(12)]
        assert most == 2


async def test_a_cancelled_open_gives_its_place_back(kind: str, tmp_path: Path) -> None:
    async with EnvironmentPool(kind, CounterOptions(), tmp_path, workers=1, max_open=1) as pool:
        opening = asyncio.create_task(pool.open(counting()))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        episode = await asyncio.wait_for(pool.open(counting()), 10)
        assert (await episode.step("up")).observation == "1"


def test_workers_end_when_their_parent_is_killed(kind: str, tmp_path: Path) -> None:
    parent = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from sand_dagster.environments.pool import EnvironmentPool
        from fakes.counter import Options

        async def main():
            async with EnvironmentPool({kind!r}, Options(), Path("."), workers=2) as pool:
                print(*pool.pids, flush=True)
                await asyncio.sleep(60)

        asyncio.run(main())
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    process.kill()
    process.wait()
    process.stdout.close()
    assert len(pids) == 2
    assert all(gone(pid, within=10.0) for pid in pids)
