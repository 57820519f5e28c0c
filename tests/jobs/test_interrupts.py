"""Signals that ask a run to end."""

from __future__ import annotations

import signal
import time

import pytest

from sand_dagster.jobs.interrupts import Interrupts


class _Dropped:
    """A signal comes while it is deleted, where Python cannot raise an exception."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)
        for _ in range(1000):  # a handler runs between two steps of Python's
            pass


def test_a_signal_that_python_could_not_raise_comes_again(capfd: pytest.CaptureFixture[str]) -> None:
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            _Dropped()
            time.sleep(20)
        assert interrupts.received() is signal.SIGTERM
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_another_dropped_exception_is_still_said(capfd: pytest.CaptureFixture[str]) -> None:
    class Bad:
        def __del__(self) -> None:
            raise ValueError("dropped")

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", seen.append)
        with Interrupts():
            Bad()
    assert [str(each.exc_value) for each in seen] == ["dropped"]
