"""A finished small experiment, and copies of it to change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.assets.pipeline import Pipeline, finished


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Iterations 00 and 01, not to be changed."""
    with finished(tmp_path_factory.mktemp("finished")) as pipeline:
        yield pipeline


@pytest.fixture
def again(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The same after sampling candidates again with another seed, with everything that is made from them."""
    with finished(tmp_path_factory.mktemp("again")) as pipeline:
        pipeline.configure("seed: 7\n")
        pipeline.materialise(iteration="01")
        yield pipeline
