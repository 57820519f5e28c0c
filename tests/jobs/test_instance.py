"""The Dagster instance of a home that several processes use."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from sand_dagster.home import locked
from sand_dagster.jobs.instance import PROCESS, dagster_home, end_killed_runs, mark_process, opened, prepare
from tests.processes import mark_of


def _ask(home: Path) -> int:
    with opened(home) as instance:
        return instance.get_runs_count()


def test_who_comes_to_a_new_home_waits_while_another_makes_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))  # restored afterwards
    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "dagster"):
            asked = pool.submit(_ask, tmp_path)
            with pytest.raises(TimeoutError):
                asked.result(timeout=0.5)
            assert not list(tmp_path.rglob("*.db"))
        assert asked.result(timeout=60) == 0


@dg.op
def nothing() -> None: ...


@dg.job
def of_nothing() -> None:
    nothing()


def _started(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    run = instance.create_run_for_job(of_nothing, status=dg.DagsterRunStatus.STARTED, tags=tags)
    return run.run_id


def test_a_run_whose_process_was_killed_is_ended_and_what_re_executes_it_is_not() -> None:
    with dg.DagsterInstance.ephemeral() as instance, subprocess.Popen(["sleep", "600"]) as process:
        killed = _started(instance, {})
        tag = mark_of(process.pid, killed)
        instance.add_run_tags(killed, {PROCESS: tag})
        alive = _started(instance, {})
        mark_process(instance, alive)
        assert instance.get_run_by_id(alive).tags[PROCESS].split(":")[0] == str(os.getpid())
        assert end_killed_runs(instance) == []
        process.kill()
        process.wait()
        # Dagster gives a re-execution the tags of the first run.
        again = _started(instance, {PROCESS: tag})
        assert end_killed_runs(instance) == [killed]
        ended = {run: instance.get_run_by_id(run).is_finished for run in (killed, alive, again)}
        assert ended == {killed: True, alive: False, again: False}


def test_the_settings_of_an_earlier_version_are_replaced_and_those_of_a_person_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    settings = dagster_home(tmp_path) / "dagster.yaml"
    today = settings.read_text()
    assert "dagster/backfill" in today
    runs = today.index("  # The iterations of a backfill")
    settings.write_text(today[:runs] + today[today.index("run_monitoring") :])
    assert dagster_home(tmp_path) and settings.read_text() == today
    settings.write_text("telemetry: {enabled: false}\n")
    assert dagster_home(tmp_path) and settings.read_text() == "telemetry: {enabled: false}\n"


def test_a_slot_that_an_ended_run_still_holds_is_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with opened(tmp_path) as instance:
        held, alive = _started(instance, {}), _started(instance, {})
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 2)
        for run in (held, alive):
            assert storage.claim_concurrency_slot("gpu", run, "step").is_claimed
        instance.report_run_failed(instance.get_run_by_id(held))
        end_killed_runs(instance)
        assert {slot.run_id for slot in storage.get_concurrency_info("gpu").claimed_slots} == {alive}


def test_what_was_killed_with_its_server_lets_go_of_the_slot_that_another_experiment_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with opened(tmp_path) as instance, subprocess.Popen(["sleep", "600"]) as server:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("gpu", 1)
        one, two = _started(instance, {}), _started(instance, {})
        instance.add_run_tags(one, {PROCESS: mark_of(server.pid, one)})
        mark_process(instance, two)
        assert storage.claim_concurrency_slot("gpu", one, "one__rollouts").is_claimed
        assert not storage.claim_concurrency_slot("gpu", two, "two__rollouts").is_claimed
        prepare(tmp_path)
        assert not storage.check_concurrency_claim("gpu", two, "two__rollouts").is_claimed

        server.kill()
        server.wait()
        prepare(tmp_path)  # what `make dev` does before it starts another
        assert storage.claim_concurrency_slot("gpu", two, "two__rollouts").is_claimed
        killed, waiting = instance.get_run_by_id(one), instance.get_run_by_id(two)
        assert killed is not None and killed.status is dg.DagsterRunStatus.FAILURE
        assert waiting is not None and waiting.status is dg.DagsterRunStatus.STARTED
