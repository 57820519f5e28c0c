"""A real child process: with requests, killed, silent, and without a parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sand_dagster.execution.child import Child, ChildDied
from tests.processes import gone

_ANSWERING = """
import os, subprocess, sys, tempfile, time
from sand_dagster.execution.parent import Parent
from sand_dagster.scratch import remove_own

parent = Parent()
print("noise", flush=True)
os.system("echo more noise")
for request in parent.requests():
    match request["op"]:
        case "exit":
            print("no more games", file=sys.stderr, flush=True)
            os._exit(3)
        case "sleep":
            time.sleep(60)
        case "start":
            parent.answer(request, {"pid": subprocess.Popen(["sleep", "60"]).pid})
        case "write":
            parent.answer(request, {"file": tempfile.mkstemp()[1]})
        case "note":
            noted = request["text"]
        case "recall":
            parent.answer(request, {"text": noted})
remove_own()
"""

_PARENT = """
import asyncio, os, sys, time
from sand_dagster.execution.child import Child

async def main():
    child = await Child.start(sys.argv[1], "answering")
    if (holding := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    await asyncio.sleep(2)
    print(child.pid, holding, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "answering.py").write_text(_ANSWERING)
    monkeypatch.syspath_prepend(tmp_path)
    return "answering"


async def test_requests_of_any_length_are_answered_whatever_libraries_print(answering: str) -> None:
    child = await Child.start(answering, "answering")
    text = "ö\n{" * 500_000
    child.send("note", text=text)
    assert await asyncio.gather(*(child.ask("recall") for _ in range(3))) == [{"text": text}] * 3
    await child.stop()
    await child.stop()
    assert gone(child.pid)
    with pytest.raises(ChildDied):
        await child.ask("recall")


async def test_the_error_says_how_it_ended_and_its_last_lines(answering: str) -> None:
    child = await Child.start(answering, "answering")
    ended = r"(?s)the answering process \d+ ended with exit status 3.*no more games"
    with pytest.raises(ChildDied, match=ended):
        await child.ask("exit")
    assert not child.alive
    with pytest.raises(ChildDied, match=ended):
        await child.ask("recall")


async def test_what_it_started_ends_with_it(answering: str) -> None:
    child = await Child.start(answering, "answering")
    started = (await child.ask("start"))["pid"]
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(ChildDied, match="SIGKILL"):
        await child.ask("sleep")
    assert await asyncio.to_thread(gone, started)


@pytest.mark.parametrize("killed", [False, True])
async def test_its_temporary_files_end_with_it(answering: str, killed: bool) -> None:
    child = await Child.start(answering, "answering")
    file = Path((await child.ask("write"))["file"])
    assert await asyncio.to_thread(file.exists)
    if killed:
        child.kill()
    await child.stop()
    assert not await asyncio.to_thread(file.parent.exists)


async def test_a_silent_child_is_killed_and_all_that_wait_learn_of_it(answering: str) -> None:
    child = await Child.start(answering, "answering")
    await child.ask("start")
    child.silence_s = 1.0
    waiting = [asyncio.create_task(child.ask(op)) for op in ("sleep", "recall")]
    for ask in waiting:
        with pytest.raises(ChildDied, match="SIGKILL: it answered nothing for 1 s and was killed"):
            await ask


@pytest.mark.parametrize("module", ["answering", "sand_dagster.models.engine_process"])
def test_it_ends_with_its_parent_though_another_process_holds_its_input_open(
    answering: str, module: str, tmp_path: Path
) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, module],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(temporary)},
    ) as parent:
        assert parent.stdout is not None
        child, holding = map(int, parent.stdout.readline().split())
        parent.kill()
    try:
        assert gone(child)
        assert not any(temporary.iterdir())
    finally:
        os.kill(holding, signal.SIGKILL)
