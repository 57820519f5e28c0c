"""What the faults are injected into: a small experiment that ran undisturbed once, and copies of its home."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Protocol

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import LOCK, ArtifactStore
from sand_dagster.bench.faults import child
from sand_dagster.bench.faults.endpoint import CONTEXT, CONTROL
from sand_dagster.errors import ArtifactError
from sand_dagster.scratch import COMPILED

NAME, UNTIL = "small", "01"
KEY_VARIABLE, KEY = "SAND_BENCH_KEY", "sk-bench-0123456789abcdef"
"""The endpoint's key: no file may contain it."""

Place = tuple[str, str | None]
"""A partition: table and iteration."""

_SCRIPTED = """\
description: a small experiment on a scripted server
extends: household
iterations: 2
environment: {environment}
model: {{base: {base}, max_model_len: {context}}}
protocol: paper
generation:
  max_new_tokens: 256
  base: {{url: "http://127.0.0.1:{port}/v1", model: scripted-base, key_variable: {key}}}
  policy: {{url: "http://127.0.0.1:{port}/v1", model: "scripted-{{checkpoint}}", key_variable: {key}}}
sampling: {{n: 2}}
critiques: {{max_new_tokens: 128}}
deliberation: {{max_new_tokens: 128, constrain_to_candidates: false, require_expert_action: false}}
finetuning: {{epochs: [1, 1, 2], max_length: {context}}}
"""
_REAL = """\
description: a small experiment on vLLM and TRL
extends: household
iterations: 2
environment: {environment}
generation: {{max_new_tokens: 64}}
deliberation: {{max_new_tokens: 64}}
sampling: {{n: 2}}
finetuning: {{epochs: [1, 1, 1]}}
"""
HOUSEHOLD = "{kind: household, train: 1, seen: 1, unseen: 1, step_limit: 20}"
SCIENCEWORLD = (
    "{kind: scienceworld, task_types: [lifespan-longest-lived], limits: {train: 1, seen: 1, unseen: 1}}"
)
_PATIENCE_S = 300.0


class Process(Protocol):
    """The interface of a run for its caller."""

    @property
    def pid(self) -> int | None: ...

    @property
    def exitcode(self) -> int | None: ...

    def join(self, timeout: float | None = None) -> None: ...


class _Command:
    """A run by the real command."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sand_dagster.cli", *arguments],
                env=dict(environment),
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()

    def join(self, timeout: float | None = None) -> None:
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return


@dataclass
class Run:
    """`sand run` in a home."""

    process: Process
    log: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def ended(self) -> bool:
        return self.process.exitcode is not None

    def wait(self, seconds: float = _PATIENCE_S) -> int | None:
        """Its exit code; None if it has not ended within `seconds`."""
        self.process.join(seconds)
        return self.process.exitcode

    def output(self) -> str:
        """What it printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still running."""
        if not self.ended:
            os.kill(self.pid, number)


class Endpoint:
    """The scripted server, which can be killed and started again on the same port."""

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, unless it is running."""
        if self._process is not None and self._process.poll() is None:
            return
        module = "sand_dagster.bench.faults.endpoint"
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(self.port)],
            # The server ends when this pipe closes, which also happens if we are killed.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def err(self, fault: str, times: int) -> None:
        """Give the next completions a fault; see `endpoint`."""
        body = json.dumps({"fault": fault, "times": times}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}{CONTROL}", body, timeout=10).close()


class Ground:
    """An experiment that ran undisturbed in `folder / "undisturbed"`, with methods to run it again."""

    def __init__(self, folder: Path, sand: str, environment: str = HOUSEHOLD, *, real: bool = False) -> None:
        """
        Args:
            folder: for everything that the campaign writes.
            sand: the full name of the function behind `sand`.
            environment: the experiment's section `environment`, as YAML.
            real: vLLM and TRL, instead of the scripted server and trainer.
        """
        self.folder, self.real = folder, real
        self._sand = sand
        self._environment = environment
        self._runs = 0
        self.endpoint = None if real else Endpoint()
        self.undisturbed = folder / "undisturbed"
        self._write_experiment()
        self._variables = {
            **os.environ,
            KEY_VARIABLE: KEY,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "HF_HUB_OFFLINE": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "COLUMNS": "200",
            **({} if real else _MACHINE),
        }
        self._context: ForkServerContext | None = None if real else self._fork_server()
        self.seconds = 0.0
        self.expected: dict[Place, str] = {}
        """The content hash of every partition of the undisturbed home, in the order they are made."""

    def _write_experiment(self) -> None:
        base = self.folder / "base"
        (self.undisturbed / "experiments").mkdir(parents=True)
        base.mkdir()
        (base / "config.json").write_text("{}")
        (base / "model.safetensors").write_text("base")
        port = self.endpoint.port if self.endpoint else 0
        text = (_REAL if self.real else _SCRIPTED).format(
            base=base, port=port, key=KEY_VARIABLE, context=CONTEXT, environment=self._environment
        )
        (self.undisturbed / "experiments" / f"{NAME}.yaml").write_text(text)

    def _fork_server(self) -> ForkServerContext:
        from multiprocessing import forkserver

        before = dict(os.environ)
        os.environ.update(self._variables | {"SAND_HOME": str(self.undisturbed)})
        try:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(child.PRELOADED)
            forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ.update(before)
        return context

    def run_undisturbed(self) -> None:
        """Run the experiment to its end; every disturbed run has to end with the same rows.

        Raises:
            RuntimeError: it fails.
        """
        started = time.monotonic()
        run = self.start(self.undisturbed)
        if run.wait() != 0:
            raise RuntimeError(f"the undisturbed run failed:\n{run.output()[-3000:]}")
        self.seconds = time.monotonic() - started
        self.expected = self.hashes(self.undisturbed)

    def start(self, home: Path, mark: str = "", **more: str) -> Run:
        """Start `sand run` in `home`; `more` are environment variables."""
        self._runs += 1
        log = self.folder / f"run-{self._runs}.log"
        environment = {
            **self._variables,
            "SAND_HOME": str(home),
            "TMPDIR": str(temporary(home)),
            COMPILED: str(self.folder / "compiled"),  # what torch keeps is nothing left over
            child.MARK: mark,
            **more,
        }
        environment.pop("DAGSTER_HOME", None)
        arguments = ["run", NAME, "--until", UNTIL]
        if self._context is None:
            return Run(_Command(arguments, environment, log), log)
        return Run(child.start(self._context, self._sand, arguments, environment, log), log)

    def copy(self, home: Path) -> None:
        """A copy of the undisturbed home."""
        shutil.copytree(self.undisturbed, home, dirs_exist_ok=True)

    def hashes(self, home: Path) -> dict[Place, str]:
        """The content hash of every complete partition; of a damaged one, what is wrong with it."""
        store = ArtifactStore(home, NAME)
        found: dict[Place, str] = {}
        for table, iteration in places():
            try:
                manifest = store.manifest(table, iteration)
            except ArtifactError as error:
                found[table, iteration] = str(error)
                continue
            if manifest is not None:
                found[table, iteration] = manifest.content_hash
        return found

    def close(self) -> None:
        """End the server and the fork server."""
        if self.endpoint is not None:
            self.endpoint.kill()
        if self._context is not None:
            from multiprocessing import forkserver

            forkserver._forkserver._stop()  # type: ignore[attr-defined]


_MACHINE = {
    "SAND_MAX_CONCURRENCY": "6",
    "SAND_WORKERS": "1",
    "SAND_ENDPOINT_TIMEOUT": "2",
    "SAND_ENDPOINT_RETRIES": "2",
    "SAND_ENDPOINT_PATIENCE": "3",
}
"""Few units at once, so that at a fault some units are done and some are not; short waits for a server."""


@contextmanager
def ground(folder: Path, sand: str, environment: str = HOUSEHOLD, *, real: bool = False) -> Iterator[Ground]:
    """A `Ground` in `folder`, whose processes end with the block."""
    made = Ground(folder, sand, environment, real=real)
    try:
        made.run_undisturbed()
        yield made
    finally:
        made.close()


def temporary(home: Path) -> Path:
    """The folder for the temporary files of the runs in `home`, which no other home uses."""
    folder = home.with_name(f"{home.name}-temporary")
    folder.mkdir(exist_ok=True)
    return folder


def places() -> list[Place]:
    """All partitions that an experiment can have, in the order in which they are made."""
    found: list[Place] = [(name, None) for name, table in TABLES.items() if not table.partitioned]
    for iteration in ("00", UNTIL):
        found += [(name, iteration) for name, table in TABLES.items() if table.partitioned]
    return found


def forget_from(home: Path, place: Place) -> None:
    """Remove the partition and all that are made after it, with their journals."""
    order = places()
    store = ArtifactStore(home, NAME)
    for table, iteration in order[order.index(place) :]:
        shutil.rmtree(store.folder(table, iteration), ignore_errors=True)


def begun(home: Path, place: Place) -> bool:
    """Whether the stage of the partition is running, or has run."""
    lock = ArtifactStore(home, NAME).folder(*place) / LOCK
    return lock.exists()
