"""The faults. Each is injected into a home and a run in it, at a random moment drawn from a seed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sand_dagster.artifacts.links import LINKS
from sand_dagster.artifacts.store import DATA, JOURNAL, MANIFEST, ArtifactStore
from sand_dagster.bench.faults import child
from sand_dagster.bench.faults.endpoint import HALVES, HANGS_UP, LIES, STALLS, STATUSES
from sand_dagster.bench.faults.ground import NAME, Ground, Place, Run, begun, forget_from, places

_SPAN_S, _REAL_SPAN_S = 0.6, 40.0
"""A fault comes within this many seconds after its stage starts. With vLLM and TRL, which take half a minute
to start, the time is longer."""

_PLAYING = ("rollouts", "eval_episodes")
_ASKING = ("candidate_actions", "rollouts", "critiques", "deliberation_trajectories", "eval_episodes")
_DAY_S, _CLOCK_SPAN_S = 86_400, 2.0


@dataclass
class Scene:
    """One injection: where it happens, and what has to be undone before the next run."""

    ground: Ground
    home: Path
    mark: str
    rng: random.Random
    detail: str = ""
    killed: bool = False
    """Whether the run was killed, so that no message can be expected."""
    lost: str = ""
    """The table whose finished work was lost and has to be done again."""
    codes: tuple[int, ...] = (0, 1)
    """The exit codes that the disturbed run may have."""
    undo: list[Callable[[], object]] = field(default_factory=list)

    def start(self, **more: str) -> Run:
        """`sand run` in the home."""
        return self.ground.start(self.home, self.mark, **more)

    def begin(self, tables: tuple[str, ...] | None = None, **more: str) -> tuple[Run, Place]:
        """A run of some stage and all after it, at some moment within that stage."""
        choices = self._places(tables)
        if tables is not None:  # iteration 00 samples nothing
            choices = [place for place in choices if place[1] == "01" or place[0] not in _ASKING[:4]]
        place = self.rng.choice(choices)
        forget_from(self.home, place)
        run = self.start(**more)
        while not run.ended and not begun(self.home, place):
            time.sleep(0.005)
        moment = time.monotonic() + self.rng.uniform(0, _REAL_SPAN_S if self.ground.real else _SPAN_S)
        while not run.ended and time.monotonic() < moment:
            time.sleep(0.005)
        self.detail = f"{place[0]} {place[1] or ''}".strip()
        return run, place

    def partition(self, tables: tuple[str, ...] | None = None) -> Place:
        """Some partition."""
        place = self.rng.choice(self._places(tables))
        self.detail = f"{place[0]} {place[1] or ''}".strip()
        return place

    def _places(self, tables: tuple[str, ...] | None) -> list[Place]:
        return [place for place in self.ground.expected if tables is None or place[0] in tables]

    def folder(self, place: Place) -> Path:
        return ArtifactStore(self.home, NAME).folder(*place)


Injection = Callable[[Scene], Run]
"""Injects the fault; returns the run that was disturbed, or that finds the damage."""


def _signal(number: signal.Signals) -> Injection:
    def inject(scene: Scene) -> Run:
        run, _ = scene.begin()
        run.send(number)
        scene.killed = number is signal.SIGKILL
        scene.codes = (0, 128 + number)
        return run

    return inject


def kill_at_any_moment(scene: Scene) -> Run:
    """SIGKILL of a run that starts with an empty home, at any time, also before and between its stages."""
    forget_from(scene.home, places()[0])
    run = scene.start()
    time.sleep(scene.rng.uniform(0, scene.ground.seconds))
    run.send(signal.SIGKILL)
    scene.killed = True
    return run


def kill_child(named: str, tables: tuple[str, ...], within_s: float) -> Injection:
    """SIGKILL of a process that the run started, found by its command line, some time after its start."""

    def inject(scene: Scene) -> Run:
        run, _ = scene.begin(tables)
        until, moment = time.monotonic() + scene.ground.seconds, 0.0
        while not run.ended and time.monotonic() < until:
            found = descendants(run.pid, named)
            if found and not moment:
                moment = time.monotonic() + scene.rng.uniform(0, within_s)
            if found and time.monotonic() >= moment:
                try:
                    os.kill(scene.rng.choice(found), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                return run
            time.sleep(0.005)
        scene.detail += " (had ended)"
        return run

    return inject


def kill_the_server(scene: Scene) -> Run:
    """SIGKILL of the models' server. It comes back or does not."""
    run, _ = scene.begin(_ASKING)
    endpoint = scene.ground.endpoint
    assert endpoint is not None
    endpoint.kill()
    if scene.rng.random() < 0.5:
        time.sleep(scene.rng.uniform(0, 0.5))
        endpoint.start()
        scene.detail += ", back at once"
    scene.undo.append(endpoint.start)
    return run


def _server_errs(faults: tuple[str, ...]) -> Injection:
    def inject(scene: Scene) -> Run:
        endpoint = scene.ground.endpoint
        assert endpoint is not None
        fault = scene.rng.choice(faults)
        times = scene.rng.choice((1, 10_000))
        run, _ = scene.begin(_ASKING)
        endpoint.err(fault, times)
        scene.undo.append(lambda: endpoint.err("", 0))
        scene.detail += f", {fault}, {'once' if times == 1 else 'always'}"
        return run

    return inject


def _damage(file: str, tables: tuple[str, ...] | None = None) -> Injection:
    """A file of a finished partition is cut, has a bit flipped, or is removed; then the experiment is run."""

    def inject(scene: Scene) -> Run:
        place = scene.partition(tables)
        path = scene.folder(place) / file
        if path.is_dir():
            scene.lost = place[0]
            path = scene.rng.choice([each for each in sorted(path.iterdir()) if each.name != "training.json"])
        if file == JOURNAL:
            # Only a partition that is not finished reads its journal.
            while not path.stat().st_size:
                place = scene.partition(tables)
                path = scene.folder(place) / file
            (path.parent / MANIFEST).unlink()
        scene.detail += f", {path.name} {_harm(path, scene.rng)}"
        return scene.start()

    return inject


def damage_while_it_runs(scene: Scene) -> Run:
    """A table of a finished stage is damaged while a later stage runs."""
    run, place = scene.begin()
    order = places()
    earlier = [each for each in order[: order.index(place)] if (scene.folder(each) / DATA).exists()]
    if earlier:
        path = scene.folder(scene.rng.choice(earlier)) / DATA
        scene.detail += f", {path.parent.parent.name}: {_harm(path, scene.rng)}"
    return run


def _harm(path: Path, rng: random.Random) -> str:
    content = bytearray(path.read_bytes())
    how = rng.choice(("flipped", "torn", "gone")) if content else "gone"
    if how == "gone":
        path.unlink()
    elif how == "torn":
        path.write_bytes(content[: rng.randrange(len(content))])
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    return how


def settings_emptied(scene: Scene) -> Run:
    """Dagster's settings are empty, as an earlier version's full disk left them."""
    (scene.home / "dagster" / "dagster.yaml").write_text("")
    forget_from(scene.home, scene.partition())
    return scene.start()


def dagsters_database(scene: Scene) -> Run:
    """One of Dagster's SQLite files is damaged: its runs, or its index of events.

    If the run says so, Dagster's folder is moved as it says.
    """
    dagster = scene.home / "dagster"
    path = scene.rng.choice([dagster / "history" / "runs.db", dagster / "history" / "runs" / "index.db"])
    scene.detail = f"{path.name} {_harm(path, scene.rng)}"
    run = scene.start()

    def follow() -> None:
        if run.wait() != 0:
            dagster.rename(scene.home / "dagster.damaged")

    scene.undo.append(follow)
    return run


def _clock(by: float) -> Injection:
    def inject(scene: Scene) -> Run:
        jump, after_s = by * scene.rng.choice((1, 7, 400)), scene.rng.uniform(0, _CLOCK_SPAN_S)
        run, _ = scene.begin(None, **{child.CLOCK: f"{jump} {after_s}"})
        scene.detail += f", by {jump / _DAY_S:+g} days after {after_s:.1f} s"
        return run

    return inject


def full_disk(scene: Scene) -> Run:
    """The disk has room for only a part of what the stage and later stages write."""
    place = scene.partition()
    forget_from(scene.home, place)
    needed = sum(path.stat().st_blocks * 512 for path in scene.home.rglob("*") if path.is_file())
    room = scene.rng.randrange(0, 400) * 1024
    whole = scene.home.with_name(f"{scene.home.name}-whole")
    scene.home.rename(whole)
    scene.home.mkdir()
    size = needed + 64 * 1024 + room
    mounted = shutil.which("mount") and not _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", scene.home)
    if not mounted:
        scene.home.rmdir()
        whole.rename(scene.home)
        raise NotPossible("mounting a small disk needs the right to mount")
    shutil.copytree(whole, scene.home, dirs_exist_ok=True)
    shutil.rmtree(whole)
    scene.detail += f", room for {room // 1024} KiB"
    scene.undo.append(lambda: _mount("-o", "remount,size=256m", scene.home))
    return scene.start()


class NotPossible(Exception):
    """This machine cannot have the fault; the message says why."""


def _mount(*arguments: str | Path) -> int:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True).returncode


def unmount(home: Path) -> None:
    """Unmount the home's small disk, if it has one."""
    if os.path.ismount(home):
        subprocess.run(["umount", str(home)], check=True)


def two_at_once(scene: Scene) -> Run:
    """A second `sand run` during some stage of the first: it is refused at once, and the first continues."""
    first, _ = scene.begin()
    second = scene.start()
    code = second.wait(30)
    output = second.output()
    if not first.ended and (code != 1 or "is held by process" not in output):
        scene.detail += f" UNEXPECTED: the second ended with {code}: {output[-300:]}"
    return first


def older_version(scene: Scene) -> Run:
    """The home has tables of an earlier layout: the run says so; after they are moved as it says, it runs."""
    below = scene.home / NAME
    forget_from(scene.home, places()[0])
    (below / "demonstrations" / "iteration=00").mkdir(parents=True)
    scene.undo.append(lambda: below.rename(scene.home / f"{NAME}.old"))
    return scene.start()


def descendants(pid: int, named: str) -> list[int]:
    """The processes below `pid` whose command line has `named` in it."""
    parents: dict[int, list[int]] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            commands[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        parents.setdefault(int(stat[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        for each in parents.get(queue.pop(), []):
            queue.append(each)
            if named in commands.get(each, ""):
                found.append(each)
    return found


_WORKER, _TRAINER = "sand_dagster.environments.worker", "sand_dagster.bench.faults.trainer"

SCRIPTED: dict[str, Injection] = {
    "SIGKILL of the run": kill_at_any_moment,
    "SIGKILL in a stage": _signal(signal.SIGKILL),
    "SIGINT in a stage": _signal(signal.SIGINT),
    "SIGTERM in a stage": _signal(signal.SIGTERM),
    "SIGKILL of an environment worker": kill_child(_WORKER, _PLAYING, 1.0),
    "SIGKILL of the trainer": kill_child(_TRAINER, ("checkpoints",), 1.0),
    "SIGKILL of the model's server": kill_the_server,
    "the server errs": _server_errs((*STATUSES, HANGS_UP)),
    "the server lies": _server_errs(tuple(LIES)),
    "the server stalls": _server_errs((STALLS,)),
    "the server halves its answers": _server_errs((HALVES,)),
    "a table damaged": _damage(DATA),
    "a manifest damaged": _damage(MANIFEST),
    "a journal damaged": _damage(JOURNAL, (*_ASKING, "checkpoints")),
    "a file of ids damaged": _damage(LINKS),
    "a model's file damaged": _damage("model", ("checkpoints",)),
    "a table damaged during a run": damage_while_it_runs,
    "Dagster's settings emptied": settings_emptied,
    "Dagster's database damaged": dagsters_database,
    "disk full": full_disk,
    "clock back": _clock(-_DAY_S),
    "clock forward": _clock(_DAY_S),
    "two runs at once": two_at_once,
    "home of an older version": older_version,
}
"""By name, with the scripted server and trainer."""

JVM: dict[str, Injection] = {"SIGKILL of a JVM": kill_child("java", _PLAYING, 4.0)}
"""With ScienceWorld, whose games each run in a JVM."""

REAL: dict[str, Injection] = {
    "SIGKILL of the run, on vLLM and TRL": _signal(signal.SIGKILL),
    "SIGKILL of vLLM's engine": kill_child("sand_dagster.models.engine_process", _ASKING, 40.0),
    "SIGKILL of TRL's process": kill_child("sand_dagster.training.sft", ("checkpoints",), 25.0),
    "SIGTERM, on vLLM and TRL": _signal(signal.SIGTERM),
}
"""With vLLM and TRL."""
