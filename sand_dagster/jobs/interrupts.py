"""SIGINT and SIGTERM while an experiment runs: it ends in order, and says what was kept."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dagster._core.errors import DagsterExecutionInterruptedError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_EXIT = 128
"""A shell adds it to a signal's number."""

_AGAIN_S = 0.1
"""After this time a signal comes again whose exception Python could not raise."""


class Interrupted(Exception):
    """The run was asked to end; `code` is the exit code that says so."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.code = _EXIT + number


class Interrupts:
    """Notes the signals that ask this process to end, whoever handles them.

    Dagster replaces the handlers while it runs a job, makes both signals the same exception, and swallows one
    that comes between two of its steps. Python writes the numbers of the signals to a pipe before any handler
    runs; that is read here. If a handler's exception meets a callback that cannot raise (a weak reference's,
    a `__del__`), Python drops it; then the signal is sent again. Outside the main thread, which alone gets
    signals, nothing is noted.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._main:
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
            self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            self._handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
            self._hook, sys.unraisablehook = sys.unraisablehook, self._not_raised
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._main:
            sys.unraisablehook = self._hook
            signal.set_wakeup_fd(self._before)
            signal.signal(signal.SIGTERM, self._handler)
            os.close(self._read)
            os.close(self._write)

    def received(self) -> signal.Signals | None:
        """The first signal that came, if one did."""
        if self._main and self._first is None:
            try:
                came = os.read(self._read, 64)
            except BlockingIOError:
                came = b""
            self._first = next((each for each in came if each in (signal.SIGINT, signal.SIGTERM)), None)
        return signal.Signals(self._first) if self._first is not None else None

    def _not_raised(self, dropped: UnraisableHookArgs) -> None:
        if isinstance(dropped.exc_value, (KeyboardInterrupt, DagsterExecutionInterruptedError)):
            number = self.received() or signal.SIGTERM
            again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            self._hook(dropped)
