"""A finished small experiment, and copies of it to change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.assets.pipeline import Pipeline, finished


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Iterations 00 and 01, only to be looked at."""
    with finished(tmp_path_factory.mktemp("finished")) as pipeline:
        yield pipeline


@pytest.fixture
def again(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The same, whose candidates were sampled again with another seed, and all that follows from them."""
    with finished(tmp_path_factory.mktemp("again")) as pipeline:
        pipeline.configure("seed: 7\n")
        pipeline.materialise(iteration="01")
        yield pipeline
