"""A run that waits for a pool sleeps, and says for whom it waits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from sand_dagster.jobs import waiting
from sand_dagster.jobs.instance import opened

OWN = InstanceConcurrencyContext.interval_to_next_pending_claim_check


@dg.op(pool="gpu")
def train() -> None: ...


@dg.job
def household() -> None:
    train()


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


def test_dagster_itself_does_not_sleep(instance: dg.DagsterInstance) -> None:
    """If this fails, Dagster does: then `waiting.py` only has to say who holds the pool."""
    storage = instance.event_log_storage
    storage.set_concurrency_slots("gpu", 1)
    holder, waiter = (instance.create_run_for_job(household) for _ in range(2))
    assert storage.claim_concurrency_slot("gpu", holder.run_id, "train").is_claimed
    with InstanceConcurrencyContext(instance, waiter) as context:
        assert not context.claim("gpu", "train")
        assert OWN(context) <= 0
