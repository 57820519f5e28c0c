"""A finished small experiment, and the command line over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from sand_dagster.cli import app
from tests.assets.pipeline import Pipeline, finished

Sand = Callable[..., Result]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with finished(tmp_path_factory.mktemp("exports")) as made:
        yield made


@pytest.fixture
def sand(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Sand:
    """`sand(*arguments)` as typed in a shell."""
    monkeypatch.setenv("SAND_HOME", str(pipeline.home))
    return lambda *arguments: CliRunner().invoke(app, [str(each) for each in arguments])
