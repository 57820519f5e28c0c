"""Runs over scripted models: of everything at once, mended, and interrupted."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage
from rich.console import Console
from typer.testing import CliRunner, Result

from sand_dagster.artifacts.store import JOURNAL, ArtifactStore
from sand_dagster.artifacts.verify import verify
from sand_dagster.assets import stages_of
from sand_dagster.assets.progress import StageProgress, listening, tell
from sand_dagster.cli import app
from sand_dagster.definitions import definitions
from sand_dagster.errors import ExperimentBusy
from sand_dagster.jobs import checks
from sand_dagster.jobs.checks import PARTITION
from sand_dagster.jobs.console import ProgressDisplay
from sand_dagster.jobs.instance import PROCESS, mark_process, running_elsewhere
from sand_dagster.jobs.run import RunFailed, run_experiment
from sand_dagster.resources.artifacts import Artifacts
from sand_dagster.resources.loop import Loop
from tests.artifacts.test_verify import flip
from tests.assets.pipeline import ASKED, ITERATION, NAME, Finetuning, InProcess, Pipeline, Scripted
from tests.processes import mark_of

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


@contextmanager
def instance_of(home: Path) -> Iterator[dg.DagsterInstance]:
    """The instance that `sand run` uses in `home`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home / "dagster"))
        with dg.DagsterInstance.get() as instance:
            yield instance


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


def test_a_stage_that_has_ended_waits_for_nothing() -> None:
    progress = StageProgress("rollouts", "00", at_first="an engine starts")
    lines: list[str] = []
    with listening(lambda told, ended: lines.append(told.line())):
        tell(progress, ended=False)
        tell(progress, ended=True)
    assert lines == ["00 rollouts (an engine starts) 0 s", "00 rollouts 0 s"]


def interrupted(home: Path, at: tuple[str, str | None], number: signal.Signals) -> Result:
    """`sand run small --until 01` in `home`, sent the signal when the stage `at` begins."""

    show = ProgressDisplay.tell

    def told(self: ProgressDisplay, progress: StageProgress, ended: bool) -> None:
        show(self, progress, ended)
        if place(progress) == at and not ended:
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ProgressDisplay, "tell", told)
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


def test_damaged_files_of_ids_are_made_again_from_the_rows(made: Pipeline) -> None:
    folder = made.store.folder("eval_episodes", "00")
    keys, links = folder / "keys.arrow", folder / "links.arrow"
    before = keys.read_bytes(), links.read_bytes()
    flip(links)
    keys.unlink()
    assert [damage.file for damage in verify(made.store).damages] == [links]

    said = run(made.home)

    assert "eval_episodes 00: made keys.arrow and links.arrow again from its rows" in said
    assert "Iteration 00 of small is complete." in said
    assert (keys.read_bytes(), links.read_bytes()) == before
    assert verify(made.store).damages == []
    assert "arrow" not in run(made.home)


def test_files_of_ids_that_another_version_wrote_are_removed(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made.store.folder("eval_episodes", "00")
    flip(folder / "links.arrow")

    def otherwise(folder: Path, *_: object) -> dict[str, str]:
        (folder / "links.arrow").write_bytes(b"written otherwise")
        return {}

    monkeypatch.setattr("sand_dagster.artifacts.store.write_links", otherwise)
    assert made.store.mend_links("eval_episodes", "00") == []
    assert not (folder / "links.arrow").exists()
    assert verify(made.store).damages == []


def test_every_run_says_where_its_job_is_defined_and_which_partition_it_made(complete: Path) -> None:
    """The UI's timeline asks for the runs of a repository and lists each under its job."""
    of_ours = dg.RunsFilter(tags={".dagster/repository": "__repository__@sand_dagster"})
    with instance_of(complete) as instance:
        runs = {run.job_name: run for run in instance.get_runs(of_ours)}
    assert runs.keys() == {f"{NAME}_setup", NAME}
    for job, run in runs.items():
        assert run.remote_job_origin is not None and run.remote_job_origin.job_name == job
    assert {job: run.tags.get(PARTITION) for job, run in runs.items()} == {f"{NAME}_setup": None, NAME: "00"}


@contextmanager
def started(instance: dg.DagsterInstance, job: str, asset: dg.AssetKey | None = None) -> Iterator[str]:
    """A run that another process has begun, which ends with the block; its id."""
    process = subprocess.Popen(["sleep", "600"])
    try:
        run_id = str(uuid.uuid4())
        tags = {PROCESS: mark_of(process.pid, run_id)}
        selection = frozenset([asset]) if asset else None
        instance.add_run(dg.DagsterRun(job, run_id, asset_selection=selection, tags=tags))
        begun = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job, message="begun")
        instance.report_dagster_event(begun, run_id)
        yield run_id
    finally:
        process.kill()
        process.wait()


def test_what_a_run_of_the_ui_holds_is_refused_at_once_until_its_process_ends(made: Pipeline) -> None:
    with instance_of(made.home) as instance, started(instance, NAME) as run_id:
        said = rf"held by Dagster's run {run_id[:8]} since \d{{4}}(-\d\d){{2}} \d\d:\d\d:\d\d \(process \d+\)"
        with pytest.raises(ExperimentBusy, match=said):
            run(made.home)
    assert f"Run {run_id[:8]} had been killed" in run(made.home)


@pytest.mark.parametrize(
    ("job", "asset", "busy"),
    [
        (f"{NAME}_setup", None, True),
        ("__ASSET_JOB", dg.AssetKey([NAME, "rollouts"]), True),
        ("__ASSET_JOB", dg.AssetKey(["another", "rollouts"]), False),
        ("another", None, False),
    ],
)
def test_only_a_run_of_the_same_experiment_in_another_process_holds_it(
    made: Pipeline, job: str, asset: dg.AssetKey | None, busy: bool
) -> None:
    with started(made.instance, job, asset) as run_id:
        found = running_elsewhere(made.instance, made.experiment)
        assert (found and found.run_id) == (run_id if busy else None)
        mark_process(made.instance, run_id)  # this one
        assert running_elsewhere(made.instance, made.experiment) is None


def test_a_check_that_fails_stops_the_chain(made: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: object, __: object, iteration: str) -> list[str]:
        """Holds in iteration 00 only."""
        return ["it does not hold"] if iteration == "01" else []

    monkeypatch.setitem(checks._CHECKS, "candidate_actions", [never])
    with pytest.raises(RunFailed, match=r"candidate_actions_never failed: .*blocking"):
        run(made.home, "01")
    table = {stage: made.store.manifest(stage, "01") for stage in ITERATION}
    at = ITERATION.index("candidate_actions") + 1
    assert None not in [table[stage] for stage in ITERATION[:at]]
    assert {table[stage] for stage in ITERATION[at:]} == {None}
    with instance_of(made.home) as instance:
        (last,) = instance.get_runs(limit=1)
    assert (last.status, last.tags[PARTITION]) == (dg.DagsterRunStatus.FAILURE, "01")


def test_a_run_that_fails_between_its_steps_says_why(made: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise ConnectionError("the database is away")

    monkeypatch.setattr(SqliteEventLogStorage, "claim_concurrency_slot", away)
    with pytest.raises(RunFailed, match=r"did not finish .*\nConnectionError: the database is away\n"):
        run(made.home, "01")


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
