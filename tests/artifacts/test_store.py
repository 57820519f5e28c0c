"""A partition is complete or not, and its manifest is never wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.manifest import Manifest
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.errors import DiskFull, MissingArtifact, PartitionBusy, TornArtifact
from sand_dagster.rows.plain import plain
from sand_dagster.rows.steps import Turn
from sand_dagster.rows.tasks import TaskRow
from tests.artifacts.rows import row

TASKS = [row("tasks", f"task {n}", split="train", step_limit=30) for n in range(3)]


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path, "household")


def write(
    store: ArtifactStore, table: str, iteration: str | None, rows: Sequence[Any], **inputs: Manifest
) -> Manifest:
    with store.writing(
        table, iteration, inputs=inputs, identity=Identity(config={"n": 5}), seed=7, run_id="run-1"
    ) as writer:
        return writer.commit(rows, {"rows": len(rows), "rate": 0.5})


def test_what_was_committed_is_read_back_with_its_provenance(store: ArtifactStore) -> None:
    tasks = write(store, "tasks", None, TASKS)
    manifest = write(store, "policy", "01", [row("policy", "p", role="policy")], tasks=tasks)
    assert list(rows_of(store, TaskRow, None)) == TASKS
    assert store.read("tasks", None).rows(named=True) == [plain(task) for task in TASKS]
    assert store.manifest("policy", "01") == manifest
    assert manifest.inputs == {"tasks": tasks.content_hash}
    assert (manifest.rows, manifest.seed, manifest.run_id, manifest.identity.config) == (
        1,
        7,
        "run-1",
        {"n": 5},
    )
    assert manifest.counts == {"rows": 1, "rate": 0.5}
    assert manifest.versions["polars"] == pl.__version__
    assert (store.iterations("policy"), store.iterations("rollouts")) == (["01"], [])
    assert store.folder("policy", "01") == store.home / "household/policy/iteration=01"


def test_the_content_hash_is_of_the_rows_alone(store: ArtifactStore, tmp_path: Path) -> None:
    first = write(store, "tasks", None, TASKS)
    other = ArtifactStore(tmp_path, "other")
    assert write(other, "tasks", None, TASKS).content_hash == first.content_hash
    changed = [*TASKS[:2], replace(TASKS[2], step_limit=31)]
    assert write(other, "tasks", None, changed).content_hash != first.content_hash
    assert write(other, "tasks", None, TASKS[::-1]).content_hash != first.content_hash
    assert first.content_hash == "94e90e3eae5d2347a9910fb6196b9137d97a2aa028ccb583f9b8a5a29b6a017a"


def test_the_content_hash_leaves_out_how_long_it_took(store: ArtifactStore) -> None:
    point = {"step": 1, "epoch": 0.1, "loss": 2.0, "learning_rate": 1e-5, "tokens_per_second": 10.0}

    def finetuned(**values: Any) -> str:
        return write(store, "checkpoints", "00", [row("checkpoints", "c", **values)]).content_hash

    slow = finetuned(seconds=9.0, loss_curve=[point])
    assert finetuned(seconds=1.0, loss_curve=[point | {"tokens_per_second": 90.0}]) == slow
    assert finetuned(seconds=1.0, loss_curve=[point | {"loss": 2.5}]) != slow


def test_what_is_not_complete_is_missing_and_the_error_says_what_to_do(store: ArtifactStore) -> None:
    assert store.manifest("rollouts", "01") is None
    with pytest.raises(
        MissingArtifact, match=r"household: rollouts for iteration 01 .* Materialise"
    ) as error:
        store.read("rollouts", "01")
    assert "household/rollouts" in str(error.value)
    with store.writing("rollouts", "01", inputs={}, identity=Identity(), seed=0, run_id="r") as writer:
        writer.journal.put("a", {})
    with pytest.raises(MissingArtifact):
        store.read("rollouts", "01")


@pytest.mark.parametrize("damage", ["cut", "swapped", "gone"])
def test_a_file_that_is_not_the_manifests_is_torn(store: ArtifactStore, damage: str) -> None:
    write(store, "tasks", None, TASKS)
    data = store.folder("tasks", None) / "data.parquet"
    if damage == "cut":
        data.write_bytes(data.read_bytes()[:-10])
    elif damage == "swapped":
        pl.read_parquet(data).head(2).write_parquet(data)
    else:
        data.unlink()
    with pytest.raises(TornArtifact, match=r"data\.parquet .* Materialise") as error:
        store.read("tasks", None)
    assert error.value.file == data


def test_a_manifest_that_is_none_is_torn(store: ArtifactStore) -> None:
    write(store, "tasks", None, TASKS)
    (store.folder("tasks", None) / "manifest.json").write_text('{"table": "tasks"}')
    with pytest.raises(TornArtifact, match=r"manifest\.json .*experiment"):
        store.read("tasks", None)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([TASKS[0], TASKS[0]], "rows 0 and 1 have the same task_id 'task 0'"),
        ([replace(TASKS[0], task_id="")], "row 0: the id in task_id is empty"),
        (
            [replace(TASKS[0], step_limit=1.5)],
            "table tasks, row 0, column step_limit: Input should be a valid integer, found float 1.5",
        ),
        ([replace(TASKS[0], step_limit=True)], "column step_limit: .* valid integer, found bool True"),
        ([plain(TASKS[0])], "row 0: Input should be an instance of TaskRow, found dict"),
        ([row("policy", "p")], "row 0: Input should be an instance of TaskRow, found PolicyRow"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_the_old_ones_stay(
    store: ArtifactStore, rows: list[Any], message: str
) -> None:
    write(store, "tasks", None, TASKS)
    with pytest.raises(ValueError, match=message):
        write(store, "tasks", None, rows)
    assert store.read("tasks", None).height == 3


def test_rows_are_refused_however_many_went_before(store: ArtifactStore) -> None:
    write(store, "tasks", None, TASKS)
    many = [row("tasks", f"task {n}") for n in range(5000)]
    with pytest.raises(ValueError, match="rows 7 and 5000 have the same task_id 'task 7'"):
        write(store, "tasks", None, [*many, many[7]])
    with pytest.raises(ValueError, match="row 5000, column step_limit"):
        write(store, "tasks", None, [*many, replace(many[0], task_id="last", step_limit="30")])
    assert store.read("tasks", None).height == 3
    assert not list(store.folder("tasks", None).glob("*.writing"))


def test_rows_are_taken_as_they_are_written_and_keep_their_order(store: ArtifactStore) -> None:
    many = [row("tasks", f"task {n}", step_limit=n) for n in range(5000)]
    taken = 0

    def rows() -> Iterator[TaskRow]:
        nonlocal taken
        for each in many:
            taken += 1
            yield each

    with store.writing("tasks", None, inputs={}, identity=Identity(), seed=0, run_id="r") as writer:
        assert writer.commit(rows(), {}).rows == taken == 5000
    assert list(rows_of(store, TaskRow, None)) == many


def test_a_partition_without_rows_is_complete(store: ArtifactStore) -> None:
    assert write(store, "rollouts", "00", []).rows == 0
    assert store.read("rollouts", "00").rows() == []


def test_counts_are_taken_over_the_rows_that_were_written(store: ArtifactStore) -> None:
    counts = {
        "units": 2,
        "turns": pl.col("step_limit").sum(),
        "average": pl.col("step_limit").mean(),
        "seen": (pl.col("split") == "seen").sum(),
        "rate": pl.col("step_limit").filter(pl.col("split") == "seen").mean(),
    }
    with store.writing("tasks", None, inputs={}, identity=Identity(), seed=0, run_id="r") as writer:
        manifest = writer.commit(TASKS, counts)
    assert manifest.counts == {"units": 2, "turns": 90, "average": 30.0, "seen": 0, "rate": 0.0}
    assert store.require("tasks", None).counts == manifest.counts


def test_nested_values_are_checked(store: ArtifactStore) -> None:
    turn = Turn(thought="", action="look", observation="", valid=True)
    rollout = row("rollouts", "r", steps=(turn,))
    assert write(store, "rollouts", "01", [rollout]).rows == 1
    for steps in ((replace(turn, valid=1),), ({"thought": ""},), "look", ("look",), [turn]):
        with pytest.raises(ValueError, match="row 0, column steps"):
            write(store, "rollouts", "01", [replace(rollout, steps=steps)])
    with pytest.raises(ValueError, match=r"row 0, column ended: .*, found str 'done'"):
        write(store, "rollouts", "01", [replace(rollout, ended="done")])
    with pytest.raises(ValueError, match=r"row 0, column outcome: .*, found str 'well'"):
        write(
            store,
            "deliberation_trajectories",
            "01",
            [replace(row("deliberation_trajectories", "s"), outcome="well")],
        )


def test_a_second_writer_is_refused_and_the_error_names_the_first(store: ArtifactStore) -> None:
    with (
        store.writing("tasks", None, inputs={}, identity=Identity(), seed=0, run_id="first") as writer,
        pytest.raises(
            PartitionBusy, match=r"process \d+ \(run first\) since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\. Wait"
        ),
        store.writing("tasks", None, inputs={}, identity=Identity(), seed=0, run_id="second"),
    ):
        pass
    writer.journal.close()
    assert write(store, "tasks", None, TASKS).rows == 3


@pytest.mark.parametrize(
    ("table", "iteration"),
    [("../tasks", None), ("tasks", "01"), ("rollouts", None), ("rollouts", "1"), ("rollouts", "../../01")],
)
def test_names_do_not_leave_the_folder(store: ArtifactStore, table: str, iteration: str | None) -> None:
    with pytest.raises(ValueError, match=r"table|iteration"):
        store.folder(table, iteration)


@pytest.mark.parametrize("name", ["..", "a/b", "", "/tmp", ".hidden", "a\n"])
def test_an_experiments_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="experiment"):
        ArtifactStore(tmp_path, name)


_KILLED = """
import os, signal, sys, time
from pathlib import Path
from sand_dagster.artifacts import store as module
from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.stored_rows import rows_of
from sand_dagster.rows.plain import plain
from sand_dagster.rows.steps import Turn
from sand_dagster.rows.tasks import TaskRow
from tests.artifacts.rows import row

moment, home = sys.argv[1], Path(sys.argv[2])
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
store = module.ArtifactStore(home, "household")
with store.writing("tasks", None, inputs={}, identity=Identity(), seed=0, run_id="killed") as writer:
    writer.journal.put("unit", {"n": 1})
    rows = [row("tasks", f"new {n}") for n in range(5000)]
    if moment == "amid the rows":
        rows = (die() if n == 4000 else each for n, each in enumerate(rows))
    elif moment == "before the data":
        module.evaluate_counts = die
    elif moment == "before the manifest":
        module.Manifest.save = die
    elif moment == "with files":
        (writer.folder / "model.safetensors").write_text("new")
        die()
    elif moment == "holding the lock":
        print("held", flush=True)
        time.sleep(60)
    writer.commit(rows, {})
"""


def killed(home: Path, moment: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", _KILLED, moment, str(home)], cwd=root, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("moment", "rows"),
    [("amid the rows", 3), ("before the data", 3), ("before the manifest", None), ("with files", None)],
)
def test_a_kill_leaves_the_old_rows_or_nothing(store: ArtifactStore, moment: str, rows: int | None) -> None:
    write(store, "tasks", None, TASKS)
    with killed(store.home, moment) as process:
        assert process.wait(60) == -signal.SIGKILL
    if rows is None:
        with pytest.raises(MissingArtifact):
            store.read("tasks", None)
    else:
        assert store.read("tasks", None).height == rows
    with store.writing("tasks", None, inputs={}, identity=Identity(), seed=0, run_id="again") as writer:
        assert writer.journal.get("unit") == {"n": 1}
        writer.commit(TASKS[:1], {})
    assert store.read("tasks", None).height == 1


def test_a_killed_writers_lock_is_free_again(store: ArtifactStore) -> None:
    with killed(store.home, "holding the lock") as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(PartitionBusy, match=rf"process {process.pid} \(run killed\)"):
            write(store, "tasks", None, TASKS)
        process.kill()
    assert write(store, "tasks", None, TASKS).rows == 3


def test_a_full_disk_names_the_file_and_keeps_the_old_rows_and_the_journal(small_disk: Path) -> None:
    store = ArtifactStore(small_disk, "household")
    write(store, "tasks", None, TASKS)
    many = [row("tasks", f"{time.time_ns()} {n}", spec=str(hash((n, "x")))) for n in range(5000)]
    with store.writing("tasks", None, inputs={}, identity=Identity(), seed=0, run_id="r") as writer:
        writer.journal.put("unit", {"n": 1})
        with pytest.raises(DiskFull, match=r"no space .*data\.parquet"):
            writer.commit(many, {})
        with pytest.raises(DiskFull, match=r"no space .*journal\.jsonl"):
            writer.journal.put("large", {"text": "x" * 100_000})
    assert store.read("tasks", None).height == 3
    with store.writing("tasks", None, inputs={}, identity=Identity(), seed=0, run_id="r") as writer:
        assert writer.journal.get("unit") == {"n": 1}
