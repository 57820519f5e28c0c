"""Fixtures of several folders of tests."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sand_dagster.models.cards import cards

FakeCards = Callable[..., None]


@pytest.fixture
def fake_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCards]:
    """`fake_cards(count, name, mib)`: `nvidia-smi` lists so many GPUs, with the UUIDs GPU-0, GPU-1, …

    On GPU-n, 100 + n MiB are in use.
    """

    def put(count: int, name: str = "NVIDIA H100 80GB HBM3", mib: int = 81559) -> None:
        total = (f'echo "{number}, GPU-{number}, {name}, {mib}"' for number in range(count))
        used = (f'echo "GPU-{number}, {100 + number}"' for number in range(count))
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        cases = ["#!/bin/sh", "case $1 in *memory.used*)", *used, ";; *)", *total, ";; esac", ""]
        program.write_text("\n".join(cases))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=":")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        cards.cache_clear()

    yield put
    cards.cache_clear()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("mounting a small disk takes root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def disk_full(path: Path) -> None:
    """In place of a function that writes: as if there were no space for `path`."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
