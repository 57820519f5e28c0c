"""`sand run` over scripted models: what it mends of an experiment that is complete."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from sand_dagster.artifacts.store import JOURNAL
from sand_dagster.artifacts.verify import verify
from sand_dagster.definitions import definitions
from sand_dagster.jobs.run import run_experiment
from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.loop import Loop
from tests.artifacts.test_verify import flip
from tests.assets.pipeline import ASKED, NAME, Finetuning, InProcess, Pipeline, Scripted

RESOURCES = {
    "artifacts": Artifacts(),
    "environments": InProcess(),
    "generation": Scripted(),
    "loop": Loop(),
    "training": Finetuning(),
}


def run(home: Path, until: str = "00") -> str:
    """What `sand run` prints."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAND_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        patch.setenv("XDG_CACHE_HOME", str(home.parent / "cache"))
        ASKED.clear()
        run_experiment(definitions([NAME], RESOURCES), NAME, until, Console(file=printed, width=200))
    return printed.getvalue()


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with iteration 00 of a small experiment, made by `sand run`."""
    home = tmp_path_factory.mktemp("complete") / "home"
    home.mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        Pipeline(home, instance)
    run(home)
    return home


@pytest.fixture
def made(complete: Path, tmp_path: Path) -> Iterator[Pipeline]:
    """A copy to damage."""
    shutil.copytree(complete, tmp_path / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(tmp_path / "home", instance)


def torn(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"crc":"0000')


def test_damaged_lines_of_a_finished_journal_are_taken_out_and_no_unit_is_done_again(made: Pipeline) -> None:
    folder = made.store.folder("eval_episodes", "00")
    before = made.store.require("eval_episodes", "00")
    lines = (folder / JOURNAL).read_bytes().splitlines()
    assert len(lines) > 1 and verify(made.store).damages == []
    flip(folder / JOURNAL, 0.1)
    torn(folder / JOURNAL)
    damages = verify(made.store).damages
    assert len(damages) == 2 and all("`sand run small --until 00` takes them out" in str(d) for d in damages)

    said = run(made.home)

    assert "eval_episodes 00: took 2 damaged lines out of its journal, which its rows do not need" in said
    assert "Iteration 00 of small is complete." in said
    assert verify(made.store).damages == []
    assert ASKED == []
    assert made.store.require("eval_episodes", "00") == before
    assert (folder / JOURNAL).read_bytes().splitlines() == lines[1:]
    assert "journal" not in run(made.home)
