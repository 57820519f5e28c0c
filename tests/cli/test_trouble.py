"""For any problem of the disk, the home or a file there is one message with what to do, and no traceback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.home import this_process
from sand_dagster.jobs.instance import HOLDER
from sand_dagster.rows.steps import ExpertRow
from tests.cli.conftest import Sand

READING = (
    ("show", "household", "rollouts", "01"),
    ("sql", "household", "SELECT * FROM rollouts"),
    ("sql", "household@run", "SELECT * FROM rollouts"),
    ("sql", "other", "SELECT * FROM everywhere.rollouts"),
    ("sql", "other", "SELECT * FROM household.rollouts"),
    ("ask", "household", "rewards_by_kind"),
    ("lineage", "household", "x01"),
    ("lineage", "trace", "x01", "--experiment", "household@run"),
    ("lineage", "why", "v010"),
    ("lineage", "scores", "d10"),
    ("diff", "household", "rollouts", "01", "01"),
    ("diff", "other", "household"),
    ("show", "household", "rollouts", "01", "--prompt"),
    ("clean", "household"),
    ("scores", "household"),
    ("report", "household"),
    ("export", "household", "01", "--format", "inspect", "--out", "logs"),
    ("compare", "household"),
    ("status", "household"),
    ("verify", "household"),
    ("replay", "rollouts"),
)
ROLLOUTS = Path("household/rollouts/iteration=01")
DAMAGED = (ROLLOUTS, *(Path(f"household/{table}/iteration=01") for table in ("eval_episodes", "eval_scores")))


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("do", [_flipped, _torn, Path.unlink, _a_folder], ids=lambda each: each.__name__)
@pytest.mark.parametrize("file", ["data.parquet", "manifest.json"])
@pytest.mark.parametrize("arguments", READING, ids=lambda each: " ".join(each[:3]))
def test_a_reading_command_says_in_one_message_what_is_damaged(
    sand: Sand,
    home: Path,
    arguments: tuple[str, ...],
    file: str,
    do: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(home)
    if "other" in arguments:
        shutil.copytree(home / "household", home / "other")
    for folder in DAMAGED:
        do(home / folder / file)
    if arguments[0] == "replay":
        arguments = ("replay", str(home / ROLLOUTS / "data.parquet"))
    said = sand(*arguments)
    assert said.exception is None or isinstance(said.exception, SystemExit), said.exc_info
    if file == "manifest.json" and do is Path.unlink:
        return  # not complete, which is not damage: some commands show what there is
    if arguments[0] == "status":
        assert said.output.count("damaged") >= 2
        return
    assert said.exit_code != 0
    assert re.search(
        rf"(rollouts|eval_scores|eval_episodes)/iteration=01/{re.escape(file)}|there is no file", said.output
    )
    if arguments[0] not in ("verify", "replay"):
        assert re.search(r"[Mm]aterialise|sand run|sand verify|Move the folder", said.output), said.output


@pytest.mark.parametrize("do", [_flipped, _torn], ids=lambda each: each.__name__)
@pytest.mark.parametrize("suffix", ["parquet", "json"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("lineage", "trace", "e0", "--experiment", "household"),
        ("lineage", "trace", "e0", "--experiment", "household@run"),
        ("sql", "household@run", "SELECT * FROM expert_data"),
        ("diff", "household@run", "household"),
    ],
    ids=lambda each: " ".join(each[:3]),
)
def test_what_is_damaged_of_an_earlier_version_is_said_with_what_to_do(
    sand: Sand, home: Path, arguments: tuple[str, ...], suffix: str, do: Callable[[Path], None]
) -> None:
    store = ArtifactStore(home, "household")
    (row,) = rows_of(store, ExpertRow, None)[:1]
    with store.writing("expert_data", None, inputs={}, identity=Identity(), seed=0, run_id="later") as writer:
        writer.commit([replace(row, step_id="e9")], {})
    (kept,) = (store.folder("expert_data", None) / "history").glob(f"*.{suffix}")
    assert sand(*arguments).exit_code == 0
    do(kept)
    said = sand(*arguments)
    assert isinstance(said.exception, SystemExit), said.exc_info
    assert said.exit_code == 1 and f"{kept} is damaged" in said.output
    assert "remove the file" in said.output


def test_a_home_that_is_a_file_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sand: Sand
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("SAND_HOME", str(file))
    for arguments in (("experiments",), ("run", "household", "--until", "00"), *READING):
        said = sand(*arguments)
        assert (said.exit_code, "Traceback" in said.output) == (1, False)
        assert "which is not a folder" in said.output


WITHOUT_PRIVILEGE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
"""Runs a command as root, but with only the rights that a file's mode gives its owner."""


def _as_anybody(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(WITHOUT_PRIVILEGE if os.getuid() == 0 else ()),
            *(sys.executable, "-m", "sand_dagster.cli", *arguments),
        ],
        env={**os.environ, "SAND_HOME": str(home), "XDG_CACHE_HOME": str(home / "none")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may do everything")
@pytest.mark.parametrize(
    ("mode", "arguments", "message"),
    [
        (0o000, ("scores", "household"), "may not read"),
        (0o555, ("run", "household", "--until", "00"), "no permission for "),
    ],
)
def test_no_permission_is_one_sentence_and_what_to_do(
    home: Path, mode: int, arguments: tuple[str, ...], message: str
) -> None:
    home.chmod(mode)
    try:
        said = _as_anybody(home, *arguments)
    finally:
        home.chmod(0o755)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("sand: ") and message in said.stderr, said.stderr
    assert "to another folder" in said.stderr
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (b"telemetry: [", "is not YAML"),
        (b"\xff\xfe", "is not YAML"),
        (b"- a\n- b\n", "expected a mapping of fields, found list"),
        (b"run_monitoring: {enabled: perhaps}\n", "cannot be used"),
    ],
)
def test_broken_settings_of_dagster_are_reported(
    sand: Sand, home: Path, settings: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")  # restored afterwards
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_bytes(settings)
    said = sand("status", "household")
    assert said.exit_code == 1, said.output
    assert message in said.output and "remove it" in said.output


def test_empty_settings_are_written_again(sand: Sand, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_bytes(b"")
    assert sand("status", "household").exit_code == 0
    assert "enabled: false" in (home / "dagster" / "dagster.yaml").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"description: \xff\n", "It has to be a text file in UTF-8"),
        (b"extends: [household]\n", "must name another experiment"),
        (b"extends: {a: b}\n", "must name another experiment"),
        (b"- a\n", "expected a mapping of fields, found list"),
        (b"", "expected a mapping of fields, found NoneType"),
        (b"a: &a [*a]\n", "mine.yaml"),
        (b"extends: household\nenvironment: {kind: [x]}\n", "mine.yaml"),
        (b"extends: household\n1: 2\n", "mine.yaml"),
        (b"extends: household\nenvironment: x\n", "mine.yaml"),
    ],
)
def test_a_file_that_is_no_experiment_is_reported(sand: Sand, home: Path, text: bytes, message: str) -> None:
    (home / "experiments").mkdir(exist_ok=True)
    (home / "experiments" / "mine.yaml").write_bytes(text)
    said = sand("plan", "mine", "--until", "00")
    assert said.exit_code == 2, said.output
    assert message in said.output and "mine.yaml" in said.output


def test_an_experiment_that_is_held_says_by_whom_and_since_when(sand: Sand, home: Path) -> None:
    note = home / "household" / HOLDER
    held = f'{{"process": "{this_process()}", "doing": "sand run household", "since": "2026-01-02 03:04:05"}}'
    note.write_text(held)
    said = sand("run", "household", "--until", "00")
    assert said.exit_code == 1
    assert f"held by process {os.getpid()} (sand run household) since 2026-01-02 03:04:05" in said.output
    assert note.read_text() == held


def test_a_holder_that_has_ended_holds_nothing(home: Path) -> None:
    from sand_dagster.jobs.instance import holding

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for note in (f'{{"process": "{ended.pid}:1", "doing": "x", "since": "y"}}', "[]", "{", "\0"):
        (home / "household" / HOLDER).write_text(note)
        with holding(home, "household", "a test"):
            assert this_process() in (home / "household" / HOLDER).read_text()
        assert not (home / "household" / HOLDER).exists()


@pytest.mark.parametrize(
    ("variable", "value"), [("SAND_WORKERS", "many"), ("SAND_MAX_NUM_SEQS", "0"), ("SAND_MODEL_SERVER", "x")]
)
def test_a_variable_that_does_not_fit_is_named(
    sand: Sand, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    said = sand("run", "household")
    assert said.exit_code == 2, said.output
    assert f"sand: the environment variable {variable} is '{value}'" in said.output
    assert "unset it" in said.output
