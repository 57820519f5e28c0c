"""A home with the small experiment, and the command line over it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sand_dagster.cli import app
from tests.artifacts.experiment import two_iterations

Sand = Callable[..., Result]


@pytest.fixture(scope="session")
def two_iterations_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    two_iterations(home)
    return home


@pytest.fixture
def home(two_iterations_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own copy, as `$SAND_HOME`."""
    shutil.copytree(two_iterations_home, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SAND_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def sand(home: Path) -> Sand:
    """`sand(*arguments)` as typed in a shell."""
    return lambda *arguments: CliRunner().invoke(app, list(arguments))
