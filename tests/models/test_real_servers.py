"""vLLM's own server and Ray Serve, started for real: the completions of the engines in process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.bench.faults.campaign import processes_with
from sand_dagster.models.encoded import EncodedEndpoints
from sand_dagster.resources.model_server import ModelServer
from sand_dagster.types import Completion
from tests.models.test_model_server import CHATS, all_of, use
from tests.processes import free_port, gone, listening_beyond_loopback


async def twice(generator: EncodedEndpoints) -> list[Completion]:
    return await all_of(generator, 2)


def shared_memory() -> set[str]:
    """What Python's processes share on this machine."""
    return {file.name for file in Path("/dev/shm").iterdir() if file.name.startswith(("psm_", "sem.mp-"))}


@contextmanager
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for the temporary files of what starts meanwhile. Its path is short: it holds sockets.

    In Ray's folder there is the address of a cluster that somebody else started on this machine.
    """
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "ray").mkdir()
        (folder / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{free_port()}")
        with monkeypatch.context() as patch:
            patch.setenv("RAY_TMPDIR", name)
            patch.setattr(tempfile, "tempdir", name)
            yield folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "ray"])
def test_two_copies_complete_as_engines_in_process(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    home = str(tmp_path / "home")
    monkeypatch.setenv("SAND_HOME", home)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    here = use(tiny_model, None, twice)
    assert len({done.text for done in here}) > len(CHATS)
    before, memory = dict(processes_with("SAND_HOME", home)), shared_memory()
    started: set[int] = set()

    async def looked_at(generator: EncodedEndpoints) -> list[Completion]:
        done = await twice(generator)
        started.update(dict(processes_with("SAND_HOME", home)).keys() - before.keys())
        assert listening_beyond_loopback(started) == []
        return done

    with temporary(monkeypatch) as folder:
        assert use(tiny_model, ModelServer(model_server=kind, server_copies=2), looked_at) == here
        assert len(started) > 2
        assert all(gone(pid) for pid in started), "nothing of the servers is left"
        assert [file.name for file in folder.iterdir()] == ["ray"]
    if kind == "local":  # Ray kills its replicas' engines, which leave a file for each (docs/gpu.md)
        assert shared_memory() <= memory
