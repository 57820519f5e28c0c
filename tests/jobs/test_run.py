"""Runs over scripted models: of everything at once, mended, and interrupted."""

from __future__ import annotations

import io
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from sand_dagster.artifacts.store import JOURNAL, ArtifactStore
from sand_dagster.artifacts.verify import verify
from sand_dagster.assets import stages_of
from sand_dagster.assets.progress import StageProgress, listening
from sand_dagster.cli import app
from sand_dagster.definitions import definitions
from sand_dagster.jobs.console import ProgressDisplay
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


def place(progress: StageProgress) -> tuple[str, str | None]:
    return progress.stage, progress.iteration


def interrupted(home: Path, at: tuple[str, str | None], number: signal.Signals) -> Result:
    """`sand run small --until 01` in `home`, sent the signal when the stage `at` begins."""

    show = ProgressDisplay.show

    def shown(self: ProgressDisplay, progress: StageProgress, ended: bool) -> None:
        show(self, progress, ended)
        if place(progress) == at and not ended:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressDisplay, "show", shown)
        patch.setenv("SAND_HOME", str(home))
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        patch.setenv("XDG_CACHE_HOME", str(home.parent / "cache"))
        patch.setattr("sand_dagster.definitions.resources", lambda: RESOURCES)
        return CliRunner().invoke(app, ["run", NAME, "--until", "01"])


def interrupt_in_each(home: Path, places: Sequence[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """Interrupt a run in the first of `places`, the next in the second, and so on, let the last go on to the
    end; what they made, in order."""
    made: list[tuple[str, str | None]] = []

    def note(progress: StageProgress, ended: bool) -> None:
        if ended:
            made.append(place(progress))

    with listening(note):
        for at, number in zip(places, cycle([signal.SIGINT, signal.SIGTERM]), strict=False):
            said = interrupted(home, at, number)
            assert said.exit_code == 128 + number, said.output
            (line,) = said.stderr.splitlines()
            where = " ".join(filter(None, [at[1], at[0]]))
            assert line.startswith(f"sand: interrupted by {number.name} in {where}")
            assert line.endswith("What was finished is kept: `sand run small --until 01` goes on from there.")
            assert at not in made
        run(home, "01")
    return made


def test_an_interrupt_is_one_line_and_its_exit_code_and_the_next_run_goes_on(made: Pipeline) -> None:
    done = interrupt_in_each(made.home, [("candidate_actions", "01"), ("checkpoints", "01")])
    stages = [stage.name for stage in stages_of(made.experiment) if stage.partitioned]
    assert done == [(stage, "01") for stage in stages]


@pytest.mark.slow
def test_interrupted_in_every_stage_the_rows_are_the_undisturbed_ones(complete: Path, tmp_path: Path) -> None:
    undisturbed, home = tmp_path / "undisturbed" / "home", tmp_path / "home"
    shutil.copytree(complete, undisturbed)
    run(undisturbed, "01")
    home.mkdir()
    with dg.DagsterInstance.ephemeral() as instance:
        stages = stages_of(Pipeline(home, instance).experiment)
    places = [(stage.name, "01" if stage.partitioned else None) for stage in stages]
    made = interrupt_in_each(home, places)
    assert len(made) == len(set(made)) == 22, "no stage is done twice"
    mine, other = ArtifactStore(home, NAME), ArtifactStore(undisturbed, NAME)
    for stage, iteration in made:
        expected = other.require(stage, iteration).content_hash
        assert mine.require(stage, iteration).content_hash == expected, (stage, iteration)


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


def all_at_once(home: Path, partition: str) -> dg.ExecuteInProcessResult:
    """One run of all of a new experiment's assets, as `Materialize all` launches for one partition."""
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("SAND_HOME", str(home))
        patch.setenv("XDG_CACHE_HOME", str(home.parent / "cache"))
        experiment = Pipeline(home, instance).experiment
        job = definitions([NAME], RESOURCES).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            partition_key=partition,
            asset_selection=[
                dg.AssetKey([NAME, name])
                for name in (*(stage.name for stage in stages_of(experiment)), "report")
            ],
            instance=instance,
            raise_on_error=False,
        )


def made_in(result: dg.ExecuteInProcessResult) -> list[str]:
    return [
        event.asset_key.path[-1]
        for event in result.all_events
        if event.is_step_materialization and event.asset_key
    ]


SETUP = ["tasks", "expert_import", "expert_data", "base_model"]


def test_all_of_a_new_experiment_at_once_begins_with_what_has_no_iterations(tmp_path: Path) -> None:
    result = all_at_once(tmp_path / "home", "00")
    assert result.success
    made = made_in(result)
    assert (len(made), set(made[:4]), made[-2:]) == (14, set(SETUP), ["eval_scores", "report"])


def test_a_later_iteration_of_a_new_experiment_at_once_names_what_to_run_first(tmp_path: Path) -> None:
    result = all_at_once(tmp_path / "home", "01")
    assert set(made_in(result)) == set(SETUP)
    reasons = {
        event.step_failure_data.user_failure_data.description
        for event in result.get_step_failure_events()
        if event.step_failure_data.user_failure_data
    }
    assert len(reasons) == 1
    assert "Run partition 00 of the job small first, or `sand run small --until 01`" in reasons.pop()
