"""Which process uses the GPUs: one lock for each card, held while an engine or a training uses it.

Dagster's pool `gpu` is claimed for one step and released between steps, but an engine stays loaded. So a
process that has the pool may find the cards in use by a process that waits for the pool. That process notices
this, and releases the cards.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sand_dagster.models.cards import cards

_LOOK_EVERY_S = 0.5
_TELL_EVERY_S = 30.0
_LOG = logging.getLogger(__name__)


class CardLocks:
    """Locks on the cards with the ids `names`; without cards there is nothing to lock.

    The system releases them when the process ends, for any reason.
    """

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self._files = [folder / f"sand-{name}.lock" for name in sorted(names)]
        self._held: list[int] = []
        self._waiting: list[int] = []
        self._said = 0.0

    @classmethod
    def of_this_machine(cls) -> CardLocks:
        """Locks of the cards that this process may use; all users of the machine share the same folder."""
        return cls([card.uuid for card in cards()], Path(tempfile.gettempdir()))

    @property
    def held(self) -> bool:
        """Whether this process has the cards."""
        return bool(self._held)

    @property
    def wanted(self) -> bool:
        """Whether another process waits for one of them."""
        for file in self._files:
            descriptor = _open(_wanted(file))
            try:
                if not _locked(descriptor, fcntl.LOCK_EX):
                    return True
            finally:
                os.close(descriptor)
        return False

    async def acquire(self) -> None:
        """Take all of them; waits while another process has one. Does nothing if they are already held."""
        began = time.monotonic()
        try:
            while not self._take():
                self._wait(began)
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self._stop_waiting()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold all of them while the block runs, from an ordinary function."""
        began = time.monotonic()
        try:
            while not self._take():
                self._wait(began)
                time.sleep(_LOOK_EVERY_S)
        finally:
            self._stop_waiting()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Release them. Idempotent."""
        while self._held:
            os.close(self._held.pop())

    def _take(self) -> bool:
        """Take all or none, so that two processes never wait for each other."""
        if self._held:
            return True
        for file in self._files:
            descriptor = _open(file)
            if not _locked(descriptor, fcntl.LOCK_EX):
                os.close(descriptor)
                self.release()
                return False
            self._held.append(descriptor)
        return True

    def _wait(self, began: float) -> None:
        """Signal the process that has a card, and log for the user."""
        if not self._waiting:
            self._waiting = [_open(_wanted(file)) for file in self._files]
            for descriptor in self._waiting:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        now = time.monotonic()
        if now - max(self._said, began - _TELL_EVERY_S) >= _TELL_EVERY_S:
            self._said = now
            _LOG.warning("The GPUs are in use by another process; waiting for %.0f s.", now - began)

    def _stop_waiting(self) -> None:
        while self._waiting:
            os.close(self._waiting.pop())


def _wanted(file: Path) -> Path:
    return file.with_suffix(".wanted")


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDONLY)  # another user's file: read access is enough for a lock
    except FileNotFoundError:
        return os.open(file, os.O_RDONLY | os.O_CREAT, 0o644)


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
