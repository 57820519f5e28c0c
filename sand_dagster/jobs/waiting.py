"""Waiting for a slot of a pool, which another run holds.

Dagster means to sleep between two looks, but its interval is never above zero (in 1.13.27, `min([0, …])`). So
a waiting run would take a whole core from the one that it waits for. It also hears no interrupt until a step
starts, so a waiting run could not be ended. And a slot may be given to a run that was killed while it waited.
"""

from __future__ import annotations

import logging
import time

from dagster._core.errors import raise_execution_interrupts
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from sand_dagster.jobs.instance import end_killed_runs

_TELL_EVERY_S = 30.0
_LOG = logging.getLogger(__name__)
_told = -_TELL_EVERY_S


def sleep_while_waiting() -> None:
    """Let the runs of this process sleep until they look again, hear interrupts, and say who has the pool."""
    # mypy takes no function in place of a method.
    setattr(InstanceConcurrencyContext, "interval_to_next_pending_claim_check", interval)  # noqa: B010
    setattr(ActiveExecution, "sleep_til_ready", _sleep)  # noqa: B010


def _sleep(steps: ActiveExecution) -> None:
    with raise_execution_interrupts():
        time.sleep(max(0.0, steps.sleep_interval()))  # type: ignore[no-untyped-call]


def interval(context: InstanceConcurrencyContext) -> float:
    """Seconds until the first of the claims that wait is looked at again."""
    global _told
    if not context.has_pending_claims():
        return 0.0
    if time.monotonic() - _told >= _TELL_EVERY_S:
        _told = time.monotonic()
        end_killed_runs(context._instance)
        for line in _held(context):
            _LOG.warning(line)
    ready_at: float = min(context._pending_timeouts.values(), default=0.0)
    return max(0.0, ready_at - time.time())


def _held(context: InstanceConcurrencyContext) -> list[str]:
    """One line for each pool that this run waits for."""
    storage, lines = context._instance.event_log_storage, []
    for pool in sorted(storage.get_concurrency_keys()):
        info = storage.get_concurrency_info(pool)
        if any(step.run_id == context._run_id for step in info.pending_steps):
            names = [
                f"{run.job_name} ({run.run_id[:8]})"
                for slot in info.claimed_slots
                if (run := context._instance.get_run_by_id(slot.run_id)) is not None
            ]
            holders = ", ".join(names) or "a run that has just ended"
            lines.append(f"Waiting for the pool {pool}: {holders} uses it, one step at a time")
    return lines
