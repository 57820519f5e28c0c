"""The campaign: one injection after another, and what has to be true after each."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table as Printed

from sand_dagster.artifacts.store import JOURNAL, ArtifactStore
from sand_dagster.artifacts.verify import verify
from sand_dagster.bench.faults.child import MARK
from sand_dagster.bench.faults.ground import (
    HOUSEHOLD,
    KEY,
    NAME,
    SCIENCEWORLD,
    Ground,
    Run,
    ground,
    temporary,
)
from sand_dagster.bench.faults.injections import (
    JVM,
    REAL,
    SCRIPTED,
    Injection,
    NotPossible,
    Scene,
    unmount,
)
from sand_dagster.environments import Progress
from sand_dagster.ids import digest
from sand_dagster.jobs.interrupts import Interrupts

_TRACEBACK = "Traceback (most recent call last)"
_MESSAGE = 500
"""A message is cut to this many characters."""
_GRACE_S = 10.0
_ROOM = 2 << 30
"""Bytes that a campaign may need."""
_RUN_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_BELONGS = re.compile(
    rf"dagster/(history/runs|storage)/{_RUN_ID}\b.*"  # of every run
    rf"|{NAME}/.+/history(/.+)?"  # of a table that was made again
    rf"|({NAME}\.old|dagster\.damaged)(/.+)?"  # moved away, as the message says
)
"""What a disturbed home may have that the undisturbed one does not have, relative to the home."""


@dataclass(frozen=True, slots=True)
class Injected:
    """The result of one injection; `problems` lists what went wrong."""

    kind: str
    number: int
    detail: str
    ended: str
    """How the disturbed run ended: by itself, with a message, or killed."""
    message: str
    seconds: float
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Campaign:
    """All injections of a seed."""

    seed: int
    injected: list[Injected]
    not_possible: dict[str, str]

    @property
    def failed(self) -> list[Injected]:
        """Those with a problem."""
        return [each for each in self.injected if each.problems]

    def to_json(self) -> dict[str, Any]:
        """Figures by kind, and every injection."""
        return {
            "seed": self.seed,
            "injections": len(self.injected),
            "kinds": len({each.kind for each in self.injected}),
            "failed": len(self.failed),
            "not_possible": self.not_possible,
            "by_kind": [{"kind": kind, **figures} for kind, figures in self._figures().items()],
            "injected": [asdict(each) for each in self.injected],
        }

    def _figures(self) -> dict[str, dict[str, Any]]:
        kinds: dict[str, list[Injected]] = {}
        for each in self.injected:
            kinds.setdefault(each.kind, []).append(each)
        return {
            kind: {
                "injections": len(those),
                "ended by itself": sum(each.ended == "by itself" for each in those),
                "ended with a message": sum(each.ended == "with a message" for each in those),
                "killed": sum(each.ended == "killed" for each in those),
                "failed": sum(bool(each.problems) for each in those),
                "seconds": round(sum(each.seconds for each in those) / len(those), 1),
            }
            for kind, those in kinds.items()
        }

    def render(self) -> Printed:
        """One row for each kind."""
        title = f"{len(self.injected)} faults, seed {self.seed}: {len(self.failed)} with a problem"
        table = Printed(title=title, title_justify="left")
        table.add_column("fault")
        for column in (
            "injections",
            "ended by itself",
            "with a message",
            "killed",
            "with a problem",
            "s each",
        ):
            table.add_column(column, justify="right")
        for kind, figures in self._figures().items():
            table.add_row(kind, *map(str, figures.values()))
        for each in self.failed:
            table.add_row(f"[red]{each.kind}, number {each.number} ({each.detail}):[/red]", *[""] * 6)
            for problem in each.problems:
                table.add_row(f"  {problem[:300]}", *[""] * 6)
        return table


def run(
    injections: int,
    seed: int,
    real: int,
    sand: str,
    progress: Progress,
    *,
    only: Sequence[str] = (),
    first: int = 0,
) -> Campaign:
    """Inject `injections` faults, the kinds in turn, each at a random moment (from `seed` and its number).

    Args:
        injections: how many over the scripted server and trainer.
        seed: of everything that is drawn.
        real: how many more with vLLM and TRL.
        sand: the full name of the function behind `sand`.
        progress: called after every injection.
        only: kinds; empty: all.
        first: the number of the first injection, to repeat a single one.

    Raises:
        ValueError: there is no such kind.
    """
    every = {**SCRIPTED, **JVM, **REAL}
    if unknown := [kind for kind in only if kind not in every]:
        raise ValueError(f"there is no fault {', '.join(unknown)}; there are: {', '.join(every)}")
    jvm = JVM if shutil.which("java") else {}
    found = Campaign(seed, [], {} if jvm else dict.fromkeys(JVM, "there is no java on this machine"))
    numbers = list(range(first, first + injections))
    kinds = [*SCRIPTED, *jvm]
    order = {number: kinds[number % len(kinds)] for number in numbers}
    if only:
        chosen = [kind for kind in only if kind in kinds]
        order = {number: chosen[number % len(chosen)] for number in numbers} if chosen else {}
    done, total = 0, injections + real
    with Interrupts(), tempfile.TemporaryDirectory(prefix="sand-faults-", dir=_in_memory()) as folder:
        for place, kinds_there, options in (
            ("household", SCRIPTED, {"environment": HOUSEHOLD}),
            ("scienceworld", jvm, {"environment": SCIENCEWORLD}),
        ):
            here = [number for number, kind in order.items() if kind in kinds_there]
            if not here:
                continue
            with _ground(Path(folder) / place, sand, **options) as made:
                for number in here:
                    _put(made, order[number], kinds_there[order[number]], number, found)
                    done += 1
                    progress(done, total)
        if real:
            with _ground(Path(folder) / "real", sand, environment=HOUSEHOLD, real=True) as made:
                names = [kind for kind in REAL if not only or kind in only]
                for number in range(real):
                    kind = names[number % len(names)]
                    _put(made, kind, REAL[kind], number, found)
                    done += 1
                    progress(done, total)
    return found


def _in_memory() -> str | None:
    """A disk in memory, if there is one: then hundreds of homes do not wait for a real disk."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM
    return str(memory) if roomy and os.access(memory, os.W_OK) else None


def _ground(folder: Path, sand: str, **options: Any) -> AbstractContextManager[Ground]:
    folder.mkdir()
    return ground(folder, sand, **options)


def _put(made: Ground, kind: str, injection: Injection, number: int, campaign: Campaign) -> None:
    if kind in campaign.not_possible:
        return
    home = made.folder / f"home-{number}"
    made.copy(home)
    mark = digest(campaign.seed, kind, number)[:16]
    scene = Scene(made, home, mark, random.Random(f"{campaign.seed} {kind} {number}"))
    started = time.monotonic()
    try:
        problems, ended, message = _inject(scene, injection)
    except NotPossible as error:
        campaign.not_possible[kind] = str(error)
        return
    finally:
        for each in scene.undo:
            each()
        unmount(home)
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(temporary(home))
    seconds = round(time.monotonic() - started, 2)
    campaign.injected.append(Injected(kind, number, scene.detail, ended, message, seconds, problems))


def _inject(scene: Scene, injection: Injection) -> tuple[list[str], str, str]:
    """Inject the fault, run again, and check everything."""
    problems: list[str] = []
    disturbed = injection(scene)
    code = disturbed.wait()
    if code is None:
        problems.append("the disturbed run did not end")
        disturbed.send(signal.SIGKILL)
    ended, message = "killed", ""
    if not scene.killed:
        ended = "by itself" if code == 0 else "with a message"
        message = _message(disturbed, scene)
        problems += _bad_ends(code, scene.codes, disturbed, message)
    if "UNEXPECTED" in scene.detail:
        problems.append(scene.detail)
    problems += _left_running(scene.mark)
    for undo in scene.undo:
        undo()
    scene.undo.clear()
    again = scene.start()
    code = again.wait()
    if code != 0:
        problems.append(f"the second run ended with {code}: {again.output()[-1500:]}")
    if _TRACEBACK in again.output():
        problems.append(f"the second run printed a traceback: {again.output()[-1500:]}")
    problems += _left_running(scene.mark)
    problems += _wrong_in(scene)
    problems += secrets(scene.home, [disturbed, again])
    return problems, ended, message


def _message(run: Run, scene: Scene) -> str:
    """The last message of the run, without this machine's folders."""
    found = re.search(r"^sand: (.*)", run.output(), re.MULTILINE | re.DOTALL)
    text = found[1].strip() if found else ""
    for folder, name in ((scene.home, "$SAND_HOME"), (scene.ground.folder, "…")):
        text = text.replace(str(folder), name)
    return text.partition("\nTraceback")[0][:_MESSAGE]


def _bad_ends(code: int | None, expected: tuple[int, ...], run: Run, message: str) -> Iterator[str]:
    if code not in expected:
        yield f"it ended with {code}, expected one of {expected}: {run.output()[-1500:]}"
    if _TRACEBACK in run.output():
        yield f"it printed a traceback: {run.output()[-1500:]}"
    elif code != 0 and not message:
        yield f"it ended with {code} and no message: {run.output()[-1500:]}"


def _left_running(mark: str) -> Iterator[str]:
    """Processes with the injection's mark that are still there after the allowed time."""
    until = time.monotonic() + _GRACE_S
    while found := dict(processes_with(MARK, mark)):
        if time.monotonic() > until:
            yield f"left running: {found}"
            return
        time.sleep(0.05)


def processes_with(name: str, value: str) -> Iterator[tuple[int, str]]:
    """Number and command line of the processes that were started with this environment variable."""
    wanted = f"{name}={value}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue


def _wrong_in(scene: Scene) -> Iterator[str]:
    """Differences from the undisturbed home, after the run is complete again."""
    found = scene.ground.hashes(scene.home)
    for place, expected in scene.ground.expected.items():
        if found.get(place) != expected:
            yield f"{place} has the content hash {found.get(place)}, undisturbed {expected}"
    yield from (f"damaged: {damage}" for damage in verify(ArtifactStore(scene.home, NAME)).damages)
    yield from (f"left over: {path}" for path in _left_over(scene))
    for journal in (scene.home / NAME).rglob(JOURNAL):
        if scene.lost and scene.lost in journal.parts:
            continue
        keys = Counter(json.loads(line)["key"] for line in journal.read_bytes().splitlines())
        twice = [key for key, count in keys.items() if count > 1]
        if twice:
            yield f"{len(twice)} units were done twice: {journal}"


def _left_over(scene: Scene) -> Iterator[Path]:
    """What lies in the home and does not belong there, and every temporary file."""
    belongs = {path.relative_to(scene.ground.undisturbed) for path in scene.ground.undisturbed.rglob("*")}
    for path in sorted(scene.home.rglob("*")):
        place = path.relative_to(scene.home)
        if place not in belongs and not _BELONGS.fullmatch(str(place)):
            yield path
    yield from sorted(temporary(scene.home).rglob("*"))


def secrets(home: Path, runs: Sequence[Run]) -> Iterator[str]:
    """Files that contain the endpoint's key."""
    key = KEY.encode()
    for path in [*home.rglob("*"), *(run.log for run in runs)]:
        if path.is_file() and key in path.read_bytes():
            yield f"the endpoint's key is in {path}"
