"""A run that waits for a pool sleeps, and says for whom it waits."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec, module_from_spec
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.storage.event_log.base import EventLogStorage

from sand_dagster.jobs import waiting
from sand_dagster.jobs.instance import PROCESS, opened
from tests.jobs.test_instance import _started
from tests.processes import mark_of


@dg.op(pool="gpu")
def train() -> None: ...


@dg.job
def household() -> None:
    train()


@pytest.fixture(autouse=True)
def not_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_told", -waiting._TELL_EVERY_S)


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with opened(tmp_path) as instance:
        yield instance


def test_a_waiting_run_sleeps_and_names_the_holder(
    instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    holder, waiter = (instance.create_run_for_job(household) for _ in range(2))
    assert storage.claim_concurrency_slot("gpu", holder.run_id, "train").is_claimed
    with InstanceConcurrencyContext(instance, waiter) as context, caplog.at_level(logging.WARNING):
        assert waiting.interval(context) == 0, "it waits for nothing"
        assert not context.claim("gpu", "train")
        for _ in range(3):
            assert 0 < waiting.interval(context) <= 15
        assert [record.message for record in caplog.records] == [
            f"Waiting for the pool gpu: household ({holder.run_id[:8]}) uses it, one step at a time"
        ]
        storage.free_concurrency_slots_for_run(holder.run_id)
        context._pending_timeouts["train"] = 0.0  # its time has come
        assert context.claim("gpu", "train")


def test_a_run_that_was_killed_is_not_waited_for(instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    killed, waiter = _started(instance, {}), instance.create_run_for_job(household)
    with subprocess.Popen(["sleep", "600"]) as process:
        mark = mark_of(process.pid, killed)
        process.kill()
    instance.add_run_tags(killed, {PROCESS: mark})
    assert storage.claim_concurrency_slot("gpu", killed, "train").is_claimed
    with InstanceConcurrencyContext(instance, waiter) as context:
        assert not context.claim("gpu", "train")
        waiting.interval(context)
        context._pending_timeouts["train"] = 0.0  # its time has come
        assert context.claim("gpu", "train")


def test_dagster_itself_does_not_sleep(instance: dg.DagsterInstance) -> None:
    """If this fails, Dagster does: then `waiting.py` only has to say who holds the pool."""
    spec = find_spec(InstanceConcurrencyContext.__module__)
    assert spec is not None and spec.loader is not None
    own = module_from_spec(spec)  # a copy, since another test may have replaced the method
    spec.loader.exec_module(own)
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    holder, waiter = (instance.create_run_for_job(household) for _ in range(2))
    assert storage.claim_concurrency_slot("gpu", holder.run_id, "train").is_claimed
    with own.InstanceConcurrencyContext(instance, waiter) as context:
        assert not context.claim("gpu", "train")
        assert context.interval_to_next_pending_claim_check() <= 0


RUN = """
import sys
from pathlib import Path
import dagster as dg
from sand_dagster.jobs.execution import execute
from sand_dagster.jobs.instance import opened
from sand_dagster.jobs.interrupts import Interrupts
from sand_dagster.jobs.waiting import sleep_while_waiting

sleep_while_waiting()

@dg.asset(pool="gpu")
def train(): ...

defs = dg.Definitions([train], jobs=[dg.define_asset_job("other")], executor=dg.in_process_executor)
with Interrupts(), opened(Path(sys.argv[1])) as instance:
    job = defs.resolve_job_def("other")
    execute(job, instance, partition=None, assets=[dg.AssetKey("train")], run_config={})
"""


def test_a_waiting_run_ends_when_it_is_interrupted(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    holder = instance.create_run_for_job(household)
    assert storage.claim_concurrency_slot("gpu", holder.run_id, "train").is_claimed
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        try:
            deadline = time.monotonic() + 120
            while not _waiting(storage, holder):
                assert run.poll() is None and time.monotonic() < deadline
                time.sleep(0.1)
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=60)
        finally:
            run.kill()
    assert "DagsterExecutionInterruptedError" in errors
    assert not _waiting(storage, holder), "it waits no more"


def _waiting(storage: EventLogStorage, holder: dg.DagsterRun) -> bool:
    """Whether a run waits for the pool that `holder` has."""
    return any(step.run_id != holder.run_id for step in storage.get_concurrency_info("gpu").pending_steps)
