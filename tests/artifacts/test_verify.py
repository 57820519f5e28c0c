"""`sand verify` reports nothing for a good store, and each damaged file of a bad one."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from sand_dagster.artifacts.history import keep
from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.artifacts.verify import verify
from sand_dagster.cli import app
from sand_dagster.fingerprints import file_digest
from sand_dagster.rows.candidates import CritiqueRow
from sand_dagster.rows.models import CheckpointRow
from tests.assets.pipeline import NAME, Pipeline, finished


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with finished(tmp_path_factory.mktemp("finished")) as pipeline:
        yield pipeline


@pytest.fixture
def store(made: Pipeline, tmp_path: Path) -> ArtifactStore:
    home = tmp_path / "home"
    shutil.copytree(made.home, home)
    return ArtifactStore(home, NAME)


def part(store: ArtifactStore, table: str, iteration: str | None = "01", file: str = "data.parquet") -> Path:
    return store.folder(table, iteration) / file


def flip(path: Path, place: float = 0.5) -> Path:
    """Change one byte, but neither the size nor the time of modification."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return path


def cut(path: Path, by: int) -> Path:
    path.write_bytes(path.read_bytes()[:-by])
    return path


def edit(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def gone(path: Path) -> Path:
    path.unlink()
    return path


def replaced(path: Path, put: Callable[[Path], object]) -> Path:
    """Put something else in the place of a file or folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    put(path)
    return path


def forge(
    store: ArtifactStore, table: str, change: Callable[[pl.DataFrame], pl.DataFrame], **more: object
) -> Path:
    """Other rows, with a manifest that has the file's hash."""
    data = part(store, table)
    change(pl.read_parquet(data)).write_parquet(data)
    manifest = store.require(table, "01")
    manifest.model_copy(update={"parquet_sha256": file_digest(data), **more}).save(
        part(store, table, file="manifest.json")
    )
    return data


def copied_manifest(store: ArtifactStore) -> Path:
    to = part(store, "policy", "00", "manifest.json")
    manifest = Manifest.load(part(store, "policy", "01", "manifest.json"))
    assert manifest is not None
    mine = store.require("policy", "00")
    mine.model_copy(update={"iteration": "01"}).save(to)
    return to


def stray(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("?")
    return path


def torn_journal(store: ArtifactStore) -> Path:
    journal = part(store, "rollouts", file="journal.jsonl")
    with journal.open("ab") as file:
        file.write(b'{"crc":"0000')
    return journal


def orphaned(store: ArtifactStore) -> Path:
    """A critique of a rollout that does not exist, in a partition that is otherwise complete."""
    first, *others = rows_of(store, CritiqueRow, "01")
    rows = [replace(first, rollout_id="nobody's"), *others]
    inputs = {name: store.require(name, "01") for name in ("candidate_actions", "rollouts")}
    below = part(store, "deliberation_trajectories").parent.parent
    for after in ("deliberation_trajectories", "checkpoints", "eval_episodes", "eval_scores"):
        shutil.rmtree(below.parent / after / "iteration=01")
    with store.writing("critiques", "01", inputs=inputs, identity=Identity(), seed=0, run_id="r") as writer:
        writer.commit(rows, {})
    return part(store, "critiques")


def earlier(store: ArtifactStore, table: str, file: str, damage: Callable[[Path], Path]) -> Path:
    """Damage a file of the version that a table had before it was made again."""
    folder = store.folder(table, "01")
    keep(folder)
    kept = sorted((folder / "history").glob(file))[0]
    copy = kept.read_bytes()  # it shares its file with the current version
    kept.unlink()
    kept.write_bytes(copy)
    return damage(kept)


def outside(store: ArtifactStore) -> Path:
    """A checkpoint whose row names a folder outside the home."""
    (checkpoint,) = rows_of(store, CheckpointRow, "01")
    identity = store.require("checkpoints", "01").identity
    with store.writing("checkpoints", "01", inputs={}, identity=identity, seed=0, run_id="r") as writer:
        writer.commit([replace(checkpoint, folder="../outside")], {})
    return store.home / "../outside"


MODEL = "model/model.safetensors"
DAMAGES: dict[str, tuple[Callable[[ArtifactStore], Path], str]] = {
    "a byte of a table": (lambda s: flip(part(s, "rollouts")), r"altered: SHA-256"),
    "a byte of an early table": (lambda s: flip(part(s, "tasks", None)), r"altered.*--until 00"),
    "a table cut": (lambda s: cut(part(s, "critiques"), 9), r"altered: SHA-256"),
    "a table gone": (lambda s: gone(part(s, "eval_scores")), r"gone; its manifest is for 2 rows"),
    "a table emptied": (lambda s: cut(part(s, "policy"), part(s, "policy").stat().st_size), r"altered"),
    "other rows": (
        lambda s: forge(s, "eval_episodes", lambda f: f.with_columns(reward=pl.lit(1.0))),
        r"content hash .* its manifest says .*Remove .*manifest\.json",
    ),
    "fewer rows": (lambda s: forge(s, "rollouts", lambda f: f.head(1)), r"it has 1 rows, its manifest says"),
    "other columns": (lambda s: forge(s, "rollouts", lambda f: f.drop("reward")), r"columns"),
    "a byte of a manifest": (
        lambda s: edit(part(s, "rollouts", file="manifest.json"), '"seed": 0', '"seed": 1'),
        r"expected fields with the checksum",
    ),
    "the links of a table": (
        lambda s: flip(part(s, "rollouts", file="links.arrow")),
        r"altered: SHA-256 .*`sand run small --until 01` makes it again from the rows",
    ),
    "an earlier version": (
        lambda s: earlier(s, "rollouts", "*.parquet", flip),
        r"altered: SHA-256 .*, named",
    ),
    "the links of an earlier version": (
        lambda s: earlier(s, "rollouts", "*.arrow", flip),
        r"altered: SHA-256 .*Remove it: the rows have",
    ),
    "the manifest of an earlier version": (
        lambda s: earlier(s, "rollouts", "*.json", lambda path: cut(path, 30)),
        r"expected a manifest, found .*Remove it; this earlier version",
    ),
    "a field in the manifest of an earlier version": (
        lambda s: earlier(s, "rollouts", "*.json", lambda path: edit(path, '"seed": 0', '"seed": 1')),
        r"expected fields with the checksum",
    ),
    "weights of an earlier version altered": (
        lambda s: earlier(s, "checkpoints", "models/*/*.safetensors", flip),
        r"altered: SHA-256 .*Remove .*\.json; `sand clean` then removes",
    ),
    "weights of an earlier version gone": (
        lambda s: earlier(s, "checkpoints", "models/*/*.safetensors", gone),
        r"the file is gone\. Remove .*\.json",
    ),
    "a manifest cut": (lambda s: cut(part(s, "rollouts", file="manifest.json"), 30), r"expected a manifest"),
    "a field's name in a manifest": (
        lambda s: edit(part(s, "rollouts", file="manifest.json"), '"checksum"', '"chfcksum"'),
        r"chfcksum",
    ),
    "another's manifest": (copied_manifest, r"manifest of small/policy for iteration 01"),
    "a journal's line": (
        lambda s: flip(part(s, "rollouts", file="journal.jsonl"), 0.1),
        r"in 1 of its lines \(\d+\).*`sand run small --until 01` takes them out",
    ),
    "a journal's last line": (torn_journal, r"its last line is torn"),
    "weights altered": (lambda s: flip(part(s, "checkpoints", file=MODEL)), r"altered.*finetunes it again"),
    "weights gone": (lambda s: gone(part(s, "checkpoints", "00", MODEL)), r"the file is gone.*--until 00"),
    "weights cut": (lambda s: cut(part(s, "checkpoints", file=MODEL), 1), r"\d+ bytes, recorded \d+"),
    "a model outside": (outside, r"outside \$SAND_HOME. Remove .*manifest\.json"),
    "a file too many in a model": (
        lambda s: stray(part(s, "checkpoints", file="model/added_tokens.json")),
        r"not among the files that the checkpoint recorded",
    ),
    "the report altered": (
        lambda s: edit(
            part(s, "checkpoints", file="model/training.json"), '"config.json": "', '"config.json": "0'
        ),
        r"lists other files",
    ),
    "the report gone": (lambda s: gone(part(s, "checkpoints", file="model/training.json")), r"gone"),
    "the report emptied": (
        lambda s: stray(part(s, "checkpoints", file="model/training.json")),
        r"not the report of a finetuning",
    ),
    "an input gone": (
        lambda s: [
            gone(part(s, "rollouts", file="manifest.json")),
            part(s, "critiques", file="manifest.json"),
        ][1],
        r"made from rollouts \w+…, which is now nothing",
    ),
    "a row of nobody's": (orphaned, r"1 ids in rollout_id belong to no row \(nobody's\)"),
    "a file left over": (
        lambda s: stray(part(s, "rollouts", file="data.parquet.writing")),
        r"not a part of the partition.*remove it",
    ),
    "a file for a table's folder": (
        lambda s: replaced(s.home / NAME / "rollouts", lambda path: path.write_text("")),
        r"found a file, expected a folder\. Move it away; then `sand run",
    ),
    "a file for a partition's folder": (
        lambda s: replaced(part(s, "rollouts", file="."), lambda path: path.write_text("")),
        r"found a file, expected a folder.*`sand run small --until 01` makes what is missing",
    ),
    "a folder for a table": (
        lambda s: replaced(part(s, "rollouts"), Path.mkdir),
        r"expected a file, found something else\. Move it away; then `sand run",
    ),
    "a folder for a journal": (
        lambda s: replaced(part(s, "rollouts", file="journal.jsonl"), Path.mkdir),
        r"found a folder, expected a file",
    ),
    "a link to itself for a manifest": (
        lambda s: replaced(part(s, "rollouts", file="manifest.json"), lambda path: path.symlink_to(path)),
        r"leads to itself",
    ),
    "a manifest of many brackets": (
        lambda s: replaced(
            part(s, "rollouts", file="manifest.json"), lambda path: path.write_text("[" * 100_000)
        ),
        r"expected a manifest, found a file that is not JSON",
    ),
    "a folder of no table": (
        lambda s: stray(s.home / NAME / "notes" / "x").parent,
        r"no table has this name",
    ),
    "a folder of no iteration": (
        lambda s: stray(s.home / NAME / "rollouts" / "iteration=x" / "y").parent,
        r"is kept by iteration",
    ),
}


def test_a_good_store_is_silent_but_for_how_much_was_looked_at(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAND_HOME", str(store.home))
    said = CliRunner().invoke(app, ["verify"])
    assert (said.exit_code, said.stdout) == (0, "")
    assert said.stderr == "all is as recorded: 22 partitions of 1 experiment\n"


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_named_with_its_file_and_what_to_do(
    store: ArtifactStore, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAND_HOME", str(store.home))
    do, message = DAMAGES[damage]
    file = do(store)
    said = CliRunner().invoke(app, ["verify", NAME])
    assert said.exit_code == 1, said.output
    (line,) = [line for line in said.output.splitlines() if line.startswith(f"{file}: ")]
    assert re.search(message, line)
    assert re.search(r"sand run|[Rr]emove|materialise", line)
    assert "Traceback" not in said.output


def test_what_cannot_be_read_does_not_hide_other_damages(store: ArtifactStore) -> None:
    blocked = replaced(part(store, "rollouts", file="journal.jsonl"), Path.mkdir)
    altered = flip(part(store, "eval_episodes"))
    assert [damage.file for damage in verify(store).damages] == [blocked, altered]


def test_a_base_models_file_is_hashed_where_it_lies(made: Pipeline) -> None:
    weights = made.home / "base" / "model.safetensors"
    kept = weights.read_bytes()
    try:
        flip(weights)
        (damage,) = verify(made.store).damages
    finally:
        weights.write_bytes(kept)
    assert damage.file == weights
    assert "Restore the file" in damage.remedy


def test_earlier_versions_of_a_good_store_are_no_damage(store: ArtifactStore) -> None:
    for table in ("rollouts", "checkpoints"):
        keep(store.folder(table, "01"))
        assert list((store.folder(table, "01") / "history").glob("*.arrow"))
    assert verify(store).damages == []


@pytest.mark.parametrize("damage", [flip, gone])
def test_a_damaged_checkpoint_is_no_earlier_version(
    store: ArtifactStore, damage: Callable[[Path], Path]
) -> None:
    """Else its damage would stay after the checkpoint was made again."""
    damage(part(store, "checkpoints", file="model/model.safetensors"))
    keep(store.folder("checkpoints", "01"))
    assert not (store.folder("checkpoints", "01") / "history").exists()


def test_what_a_run_is_writing_is_no_damage(store: ArtifactStore) -> None:
    with store.writing("rollouts", "02", inputs={}, identity=Identity(), seed=0, run_id="r") as writer:
        writer.journal.put("a", {"rows": [], "outcome": "ok"})
        stray(part(store, "rollouts", "02", "data.parquet.writing"))
        assert verify(store).damages == []
    assert json.loads(part(store, "rollouts", "02", "journal.jsonl").read_text())["key"] == "a"
