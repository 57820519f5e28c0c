from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sand_dagster.models.engines import Engines
from tests.training.tiny_model import write_tiny_model


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    """One cache for the session, because starting vLLM takes most of the time of these tests."""
    engines = Engines()
    yield engines
    engines.release_all()
