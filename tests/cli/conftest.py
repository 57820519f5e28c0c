"""A home with the small experiment, and the command line over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sand_dagster.cli import app
from tests.artifacts.experiment import two_iterations

Sand = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAND_HOME", str(tmp_path))
    two_iterations(tmp_path)
    return tmp_path


@pytest.fixture
def sand(home: Path) -> Sand:
    """`sand(*arguments)` as typed in a shell, with `$SAND_HOME` set."""
    return lambda *arguments: CliRunner().invoke(app, list(arguments))
