"""What a user does in the browser: a real webserver, daemon and runs; models and training are scripted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise

import dagster as dg
import pytest
from playwright.sync_api import expect
from typer.testing import CliRunner

from sand_dagster.artifacts.store import JOURNAL
from sand_dagster.cli import app
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.jobs.instance import dagster_home
from tests.assets.pipeline import ITERATION, NAME, Pipeline, finished
from tests.e2e.scripted_location import BROKEN, SLOW
from tests.e2e.ui import PATIENCE_S, QUICKLY, Ui, another, browser_page, served, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow]

STATUS = dg.DagsterRunStatus
MADE = [*ITERATION, "report"]
"""What a run of an iteration materialises."""


def _hashes(pipeline: Pipeline, *iterations: str) -> dict[str, str]:
    return {
        f"{table} {iteration}": pipeline.store.require(table, iteration).content_hash
        for iteration in iterations
        for table in ITERATION
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The hashes of an experiment that ran without stops, failures or repetitions."""
    with finished(tmp_path_factory.mktemp("undisturbed")) as pipeline:
        pipeline.materialise(iteration="02")
        yield pipeline


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    home = tmp_path_factory.mktemp("ui")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.setenv("DAGSTER_HOME", "")
        settings = dagster_home(home) / "dagster.yaml"
        settings.write_text(settings.read_text() + QUICKLY)
        with dg.DagsterInstance.get() as instance, browser_page() as page:
            Pipeline(home, instance).materialise()
            another(home, instance, "one", "00", "01")
            another(home, instance, "terminated", "00")
            another(home, instance, "unlucky", "00")
            another(home, instance, "stale", "00", "01")
            with served(home) as (url, _):
                yield Ui(url, home, instance, page)


def test_a_backfill_of_a_new_experiment_runs_its_iterations_in_order(ui: Ui, undisturbed: Pipeline) -> None:
    page = ui.open("assets")
    expect(page.get_by_role("link", name="household / base_model")).to_be_visible()
    expect(page.get_by_text("more_experiments").first).to_be_visible()
    page = ui.open(f"locations/sand_dagster/asset-groups/{NAME}")
    for stage in ("tasks", "base_model", "policy", "critiques", "eval_scores"):
        expect(page.get_by_text(stage, exact=True).first).to_be_visible()
    expect(page.get_by_text("Join the Dagster community")).not_to_be_visible()
    page = ui.open(f"locations/sand_dagster/jobs/{NAME}/partitions")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("All", exact=True).click()
    page.get_by_role("button", name="Launch backfill").click()

    in_backfill = dg.RunsFilter(job_name=NAME)

    def ended() -> list[dg.RunRecord] | None:
        records = list(ui.instance.get_run_records(in_backfill, ascending=True))
        done = len(records) == 3 and all(record.dagster_run.is_finished for record in records)
        failed = any(record.dagster_run.status is STATUS.FAILURE for record in records)
        return records if done or failed else None

    records = wait_for(ended, 2 * PATIENCE_S)
    assert [record.dagster_run.status for record in records] == [STATUS.SUCCESS] * 3
    partitions = [record.dagster_run.tags.get("dagster/partition") for record in records]
    assert partitions == ["00", "01", "02"]
    for before, after in pairwise(records):
        assert before.end_time and after.start_time and before.end_time <= after.start_time
    assert [ui.materialised(record.dagster_run) for record in records] == [MADE] * 3
    made = Pipeline(ui.home, ui.instance)
    assert _hashes(made, "00", "01", "02") == _hashes(undisturbed, "00", "01", "02")


def test_one_stage_of_one_iteration_says_what_was_reused_and_links_to_its_parents(
    ui: Ui, undisturbed: Pipeline
) -> None:
    pipeline = ui.experiment("one")
    run = ui.materialise("one/critiques", "01")
    assert ui.ended(run) is STATUS.SUCCESS
    assert ui.materialised(run) == ["critiques"]
    assert _hashes(pipeline, "00", "01") == _hashes(undisturbed, "00", "01")

    page = ui.open("assets/one/critiques?view=events&partition=01")
    units = pipeline.store.require("critiques", "01").rows
    expect(page.get_by_text(f"{units} reused, 0 done now")).to_be_visible()
    expect(page.get_by_text("To have all of them done again, open Materialize's menu")).to_be_visible()
    expect(
        page.get_by_text(re.compile("sand lineage trace [0-9a-f]+ --experiment one")).first
    ).to_be_visible()
    page.get_by_role("link", name="one / rollouts").first.click()
    expect(page).to_have_url(f"{ui.url}/assets/one/rollouts")
    ui.open("assets/one/policy?view=events&partition=01")
    page.get_by_role("link", name="one / checkpoints").first.click()
    expect(page).to_have_url(f"{ui.url}/assets/one/checkpoints")
    expect(page.get_by_text("sand/variant: full")).to_be_visible()


def test_a_run_terminated_in_the_middle_continues_from_there(ui: Ui, undisturbed: Pipeline) -> None:
    pipeline = ui.experiment("terminated")
    (ui.home / SLOW).write_text("1")
    run = ui.launch("terminated", "01")
    journal = pipeline.store.folder("candidate_actions", "01") / JOURNAL
    wait_for(lambda: journal.exists() and journal.stat().st_size > 0)
    page = ui.open(f"runs/{run.run_id}")
    expect(page.get_by_text("needs a model, which takes up to a minute to start").first).to_be_visible()
    page.get_by_role("button", name="Terminate").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate").click()
    assert ui.ended(run) is STATUS.CANCELED
    expect(page.get_by_text("Cancelled, as was asked").first).to_be_visible()
    failures = ui.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    (error,) = [each.get_dagster_event().step_failure_data.error for each in failures]
    assert error and not error.cause and not error.context and not error.stack, "no trace"
    (ui.home / SLOW).unlink()

    again = ui.again_from_failure(run)
    assert ui.ended(again) is STATUS.SUCCESS
    assert ui.materialised(run) + ui.materialised(again) == MADE
    assert _hashes(pipeline, "00", "01") == _hashes(undisturbed, "00", "01")


def test_of_a_failed_stage_the_reason_is_read_and_only_the_rest_runs(ui: Ui, undisturbed: Pipeline) -> None:
    pipeline = ui.experiment("unlucky")
    (ui.home / BROKEN).write_text("the critic is out for lunch")
    run = ui.launch("unlucky", "01")
    assert ui.ended(run) is STATUS.FAILURE
    expect(ui.page.get_by_text("the critic is out for lunch").first).to_be_visible()
    (ui.home / BROKEN).unlink()

    again = ui.again_from_failure(run)
    assert ui.ended(again) is STATUS.SUCCESS
    assert ui.materialised(again) == MADE[MADE.index("critiques") :]
    assert _hashes(pipeline, "00", "01") == _hashes(undisturbed, "00", "01")


def test_after_a_change_of_the_file_what_is_stale_is_shown(ui: Ui) -> None:
    pipeline = ui.experiment("stale")
    file = ui.home / "experiments" / "stale.yaml"
    file.write_text(file.read_text() + "sampling: {n: 3}\n")
    assert load_experiment("stale", ui.home).sampling.n == 3
    wrong = ui.home / "experiments" / "wrong.yaml"
    wrong.write_text("description: wrong\nsamplin: 3\n")
    ui.reload()
    page = ui.open("assets/wrong")
    expect(page.get_by_text("samplin").first).to_be_visible()
    expect(page.get_by_text("Correct the file and reload the definitions.").first).to_be_visible()
    wrong.unlink()
    page = ui.open("assets/stale/eval_scores?view=checks&checkDetail=up_to_date")
    before = ui.instance.get_runs_count()
    page.get_by_role("button", name="Execute all").click()
    run = wait_for(lambda: ui.instance.get_runs(limit=1) if ui.instance.get_runs_count() > before else None)[
        0
    ]
    assert ui.ended(run) is STATUS.SUCCESS
    ui.open("assets/stale/eval_scores?view=checks&checkDetail=up_to_date")
    expect(page.get_by_text("iteration 01: upstream: eval_episodes").first).to_be_visible()
    # The sensor reports it for every stage by itself.
    ui.open("assets/stale/candidate_actions?view=checks&checkDetail=up_to_date")
    expect(page.get_by_text("config: sampling.n 2 → 3").first).to_be_visible()
    # No iteration starts from a stale one.
    refused = ui.launch("stale", "02")
    assert ui.ended(refused) is STATUS.FAILURE
    expect(page.get_by_text("iteration 02 of stale does not start").first).to_be_visible()
    assert pipeline.store.manifest("expert_trajectories", "02") is None


def test_what_comes_after_a_stage_that_was_made_again_is_stale(ui: Ui) -> None:
    """After the test above, in which the configuration of `stale` changed."""
    pipeline = ui.experiment("stale")
    for iteration in ("00", "01"):
        pipeline.materialise("candidate_actions", iteration=iteration)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAND_HOME", str(ui.home))
        said = CliRunner().invoke(app, ["status", "stale", "--json"])
    states = {(row["iteration"], row["table"]): row for row in json.loads(said.stdout)}
    assert states["01", "candidate_actions"]["state"] == "complete"
    assert states["01", "eval_scores"]["state"] == "stale"
    # The sensor looks again by itself.
    page = ui.open("assets/stale/candidate_actions?view=checks&checkDetail=up_to_date")
    expect(page.get_by_text("What was made is up to date.").first).to_be_visible()
    ui.open("assets/stale/eval_scores?view=checks&checkDetail=up_to_date")
    expect(page.get_by_text("iteration 01: upstream: eval_episodes").first).to_be_visible()
