"""A short campaign of faults, and every seed that once found a bug."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dagster._time import get_current_datetime

from sand_dagster.artifacts import store
from sand_dagster.bench.faults.campaign import run, secrets
from sand_dagster.bench.faults.child import TELL_THE_TIME, let_the_clock_jump
from sand_dagster.bench.faults.endpoint import FAULTS
from sand_dagster.bench.faults.ground import KEY, Ground, forget_from, ground
from sand_dagster.bench.faults.injections import SCRIPTED

SAND = "sand_dagster.cli.bench.sand"


def _put(*kinds: str, seed: int, injections: int, first: int = 0) -> None:
    campaign = run(injections, seed, 0, SAND, lambda done, total: None, only=kinds, first=first)
    assert [(each.kind, each.number, each.problems) for each in campaign.failed] == []
    assert len(campaign.injected) == injections or campaign.not_possible


def test_a_few_faults_change_nothing_and_leave_nothing() -> None:
    _put("SIGTERM in a stage", "a table damaged", seed=1, injections=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_faults_of_each_family_change_nothing_and_leave_nothing() -> None:
    """One kind of each family; `sand bench faults` has all kinds."""
    kinds = (
        "SIGKILL in a stage",
        "SIGKILL of an environment worker",
        "SIGKILL of the trainer",
        "SIGKILL of the model's server",
        "the server lies",
        "a journal damaged",
        "disk full",
        "two runs at once",
    )
    assert set(kinds) <= set(SCRIPTED)
    _put(*kinds, seed=2, injections=len(kinds))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("a manifest damaged", 5),
        ("SIGTERM in a stage", 13),
        ("SIGTERM in a stage", 95),
        ("a table damaged during a run", 34_836),
    ],
)
def test_what_once_found_a_bug_finds_none(kind: str, number: int) -> None:
    _put(kind, seed=3, injections=1, first=number)


def test_a_clock_that_jumps_does_so_for_manifests_and_for_dagster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("time", "time_ns"):
        monkeypatch.setattr(time, name, getattr(time, name))  # restored afterwards
    for module in TELL_THE_TIME:
        monkeypatch.setattr(f"{module}.datetime", datetime)
    let_the_clock_jump(timedelta(days=-7).total_seconds(), 0.1)
    before = datetime.now(UTC)
    assert abs(store.datetime.now(UTC) - before) < timedelta(seconds=5)
    until = time.monotonic() + 20
    while abs(time.time() - before.timestamp()) < 60 and time.monotonic() < until:
        time.sleep(0.05)
    for now in (datetime.fromtimestamp(time.time(), UTC), store.datetime.now(UTC), get_current_datetime()):
        assert timedelta(days=6) < before - now < timedelta(days=8)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A finished experiment whose models are on a server with a key."""
    with ground(tmp_path_factory.mktemp("served"), SAND) as made:
        yield made


ALWAYS = ("the key", "401")
"""In the answers of these two is the key. The other faults are left to `make test-all`."""


@pytest.mark.parametrize(
    "fault", [pytest.param(f, marks=() if f in ALWAYS else pytest.mark.slow) for f in FAULTS]
)
def test_the_key_is_in_nothing_that_is_written_whatever_the_server_answers(
    served: Ground, tmp_path: Path, fault: str
) -> None:
    served.copy(tmp_path / "home")
    forget_from(tmp_path / "home", ("critiques", "01"))
    assert served.endpoint is not None
    served.endpoint.err(fault, 1_000_000)
    try:
        disturbed = served.start(tmp_path / "home")
        assert disturbed.wait() == 1, disturbed.output()
    finally:
        served.endpoint.err("", 0)
    assert "sand: Iteration 01 of small did not finish" in disturbed.output()
    if fault in ALWAYS:
        assert "[API key]" in disturbed.output()
    assert list(secrets(tmp_path / "home", [disturbed])) == []
    (tmp_path / "home" / "a log").write_text(f"Authorization: Bearer {KEY}")
    assert len(list(secrets(tmp_path / "home", [disturbed]))) == 1


def test_an_unknown_kind_is_an_error() -> None:
    quiet: Callable[[int, int], None] = lambda done, total: None  # noqa: E731
    with pytest.raises(ValueError, match="there is no fault rain; there are: SIGKILL of the run, "):
        run(1, 0, 0, SAND, quiet, only=("rain",))
