"""Progress of a stage, printed in two places: the run's log, and the terminal that `sand run` owns."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class StageProgress:
    """How far a stage is. Written by the thread that works, read by the one that reports."""

    stage: str
    iteration: str | None
    done: int = 0
    total: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    note: str = ""
    at_first: str = ""
    """What is waited for until something is done, such as an engine that starts."""
    started: float = field(default_factory=time.monotonic)
    logged: float = field(default_factory=time.monotonic)

    def units(self, done: int, total: int, outcomes: Counter[str]) -> None:
        """The callback of `sand.units`."""
        self.done, self.total, self.outcomes = done, total, dict(outcomes)

    def counted(self, done: int, total: int) -> None:
        """The callback of work that has no outcomes to count."""
        self.done, self.total = done, total

    def log_is_due(self, every_s: float) -> bool:
        """Whether the last line is `every_s` seconds old; if so, the next counts from now."""
        now = time.monotonic()
        due = now - self.logged >= every_s
        if due:
            self.logged = now
        return due

    def line(self) -> str:
        """Such as `01 critiques 120/480 (ok 117, no_marker 3) 41 s`."""
        where = f"{self.iteration} {self.stage}" if self.iteration else self.stage
        count = f" {self.done}/{self.total}" if self.total else ""
        waiting = "" if self.done else self.at_first
        kinds = ", ".join(f"{name} {number}" for name, number in sorted(self.outcomes.items()))
        details = "; ".join(part for part in (kinds, self.note or waiting) if part)
        return f"{where}{count}{f' ({details})' if details else ''} {time.monotonic() - self.started:.0f} s"


Listener = Callable[[StageProgress, bool], None]
"""Called now and then with a stage's progress, and with True once when it has ended."""

_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell `listener` of the stages that run in this process."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def tell(progress: StageProgress, ended: bool) -> None:
    """Tell all listeners."""
    if ended:
        progress.at_first = ""
    for listener in _listeners:
        listener(progress, ended)
