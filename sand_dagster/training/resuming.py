"""A finetuning's work folder. It is kept if a killed training can be resumed from it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KEY = "key"
STATE = "state"
"""The folder, in the work folder, with the training's saved states."""


@contextmanager
def work_folder(output: Path, key: str) -> Iterator[Path]:
    """A folder beside `output` to work in; it is removed when the work is done.

    `key` is the hash of everything that decides the weights. If an earlier training with the same key was
    interrupted, the folder still has its saved state; files of another training are removed.
    """
    work = output.with_name(f".{output.name}.training")
    if not (work / _KEY).is_file() or (work / _KEY).read_text() != key:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    (work / _KEY).write_text(key)
    try:
        yield work
    except BaseException:
        if not any((work / STATE).glob("checkpoint-*")):
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)
