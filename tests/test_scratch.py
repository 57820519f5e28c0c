"""Folders for temporary files: removed at the end, or by the next process after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sand_dagster.scratch import COMPILED, scratch

_HOLDING = """
import sys, tempfile, time
from sand_dagster.scratch import scratch

tempfile.tempdir = sys.argv[1]
with scratch() as environment:
    print(environment["TMPDIR"], flush=True)
    time.sleep(60)
"""

_CACHE = "from torch._inductor.runtime.cache_dir_utils import default_cache_dir; print(default_cache_dir())"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_goes_with_all_that_is_in_it(temporary: Path) -> None:
    with pytest.raises(KeyError), scratch() as environment:
        folder = Path(environment["TMPDIR"])
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        raise KeyError
    assert not any(temporary.iterdir())


def test_what_torch_compiled_is_kept(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMPILED, raising=False)
    with scratch() as environment:
        variables = {**os.environ, "TMPDIR": str(temporary)}
        found = subprocess.run([sys.executable, "-c", _CACHE], env=variables, capture_output=True, text=True)
        assert environment[COMPILED] == found.stdout.strip()
    monkeypatch.setenv(COMPILED, "elsewhere")
    with scratch() as environment:
        assert environment[COMPILED] == "elsewhere"


def test_what_a_killed_process_left_is_removed_by_the_next_one(temporary: Path) -> None:
    command = [sys.executable, "-c", _HOLDING, str(temporary)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holding:
        assert holding.stdout is not None
        theirs = Path(holding.stdout.readline().strip())
        with scratch() as environment:
            assert theirs.is_dir(), "it is in use"
        holding.send_signal(signal.SIGKILL)
    with scratch() as environment:
        assert [str(each) for each in temporary.iterdir()] == [environment["TMPDIR"]]


def test_other_folders_stay(temporary: Path) -> None:
    """One of ours that is just being made, and a link that leads elsewhere."""
    (temporary / "sand-new").mkdir()
    (temporary / "sand-link").mkdir()
    (temporary / "elsewhere").touch()
    (temporary / "sand-link" / "held").symlink_to(temporary / "elsewhere")
    with scratch():
        pass
    assert {each.name for each in temporary.iterdir()} == {"sand-new", "sand-link", "elsewhere"}
