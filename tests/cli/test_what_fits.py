"""What `sand run` says about this machine's GPUs before it starts. `nvidia-smi` is a script."""

from __future__ import annotations

import pytest
import typer

from sand_dagster.cli.experiments import _say_what_fits
from tests.cli.conftest import Sand
from tests.conftest import FakeCards

EXPERIMENT = "alfworld-llama31-8b"


def test_a_card_that_is_too_small_is_refused_before_anything_starts(
    sand: Sand, fake_cards: FakeCards
) -> None:
    fake_cards(1, "NVIDIA GeForce RTX 4090", 24564)
    refused = sand("run", EXPERIMENT, "--until", "00")
    assert refused.exit_code == 1
    assert "generation: the model's weights" in refused.stderr


def test_what_runs_elsewhere_need_not_fit_here(
    sand: Sand,
    fake_cards: FakeCards,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One card that generates, and a cluster that trains."""
    fake_cards(1, "NVIDIA L40S", 46068)
    monkeypatch.setattr("sand_dagster.estimate.hardware.os.sysconf", lambda _: 2**17)  # 16 GiB of memory
    with pytest.raises(typer.Exit):
        _say_what_fits(EXPERIMENT, "00")
    assert "training: this finetuning does not fit" in capsys.readouterr().err
    monkeypatch.setenv("SAND_TRAINING_ON", "ray")
    _say_what_fits(EXPERIMENT, "00")
    said = capsys.readouterr()
    assert "generation: 1 copy of the model" in said.out
    assert "training" not in said.out + said.err
