"""A short campaign of faults, and every seed that once found a bug."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sand_dagster.bench.faults.campaign import run
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


def test_an_unknown_kind_is_an_error() -> None:
    quiet: Callable[[int, int], None] = lambda done, total: None  # noqa: E731
    with pytest.raises(ValueError, match="there is no fault rain; there are: SIGKILL of the run, "):
        run(1, 0, 0, SAND, quiet, only=("rain",))
