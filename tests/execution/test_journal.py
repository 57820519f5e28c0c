"""The journal survives kills, torn lines, damage and a full disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sand_dagster.errors import DiskFull
from sand_dagster.execution.journal import Journal, JournalReader

_WRITER = """
import sys
from pathlib import Path
from sand_dagster.execution.journal import Journal, JournalReader
journal = Journal(Path(sys.argv[1]))
for number in range(10**9):
    journal.put(f"unit {number}", {"number": number, "text": "ö{\\n" * 2000})
    print(number, flush=True)
"""


def test_values_come_back_and_the_last_of_a_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.put("a", {"text": "first\nline {é}", "list": [1, None, 0.5]})
        journal.put("b", {})
        journal.put("a", {"text": "second"})
        assert journal.get("a") == {"text": "second"}
    with Journal(path) as again:
        assert (again.get("a"), again.get("b"), again.get("c")) == ({"text": "second"}, {}, None)
        assert (len(again), again.skipped, "a" in again, "c" in again) == (2, 0, True, False)


def test_a_killed_writer_loses_nothing_it_had_put(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 200:
                writer.send_signal(signal.SIGKILL)
                break
        printed = 200 + sum(1 for line in writer.stdout if line.endswith("\n"))
    with Journal(path) as journal:
        assert len(journal) >= printed + 1
        assert journal.skipped == 0
        for number in range(len(journal)):
            value = journal.get(f"unit {number}")
            assert value is not None and value["number"] == number


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_last_line_is_cut_and_writing_continues(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.put("a", {"n": 1})
        journal.put("b", {"n": 2})
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(path) as journal:
        assert (journal.get("a"), journal.get("b"), journal.skipped) == ({"n": 1}, None, 0)
        journal.put("c", {"n": 3})
    with Journal(path) as journal:
        assert (len(journal), journal.get("c")) == (2, {"n": 3})


def test_a_damaged_line_is_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for key in ("a", "b", "c"):
            journal.put(key, {"reward": 0.25})
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"0.25", b"0.75")
    path.write_bytes(b"\n".join(lines))
    with Journal(path) as journal:
        assert (journal.get("a"), journal.get("b"), journal.get("c")) == (
            {"reward": 0.25},
            None,
            {"reward": 0.25},
        )
        assert journal.skipped == 1


def test_a_full_disk_names_the_file_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    real = os.write
    room = 100

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(descriptor, data[:room])
        room -= written
        return written

    with Journal(path) as journal:
        journal.put("a", {"n": 1})
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write)
            with pytest.raises(DiskFull, match=str(path)):
                journal.put("b", {"text": "x" * 1000})
        assert journal.get("b") is None
        journal.put("c", {"n": 3})
    with Journal(path) as journal:
        assert (journal.get("a"), journal.get("c"), len(journal), journal.skipped) == (
            {"n": 1},
            {"n": 3},
            2,
            0,
        )


def test_a_reader_takes_no_line_that_its_writer_has_not_ended(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert JournalReader(path).get("a") is None, "it need not exist"
    with Journal(path) as journal:
        journal.put("a", {"n": 1})
        reader = JournalReader(path)
        journal.put("b", {"n": 2})
        assert (reader.get("a"), "b" in reader) == ({"n": 1}, False)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert (len(JournalReader(path)), path.read_bytes()) == (1, whole[:-1]), "it changes nothing"
