"""A finetuning's work folder: kept where a training that was killed can be gone on with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_KEY = "key"
STATE = "state"
"""The folder, in the work folder, that holds what the training saves on its way."""


@contextmanager
def work_folder(output: Path, key: str) -> Iterator[Path]:
    """A folder beside `output` to work in, gone when the work is done.

    `key` is the hash of all that decides the weights. Where an earlier training with the same key was ended
    on its way, the folder still holds what it saved; what another one left is removed.
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
