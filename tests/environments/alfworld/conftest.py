"""The games of `alfworld_compiled.testing`, and the published sample with its games."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from alfworld_compiled.testing import *  # noqa: F403


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data; skips if there is none."""
    folder = Path(os.environ.get("SAND_SHARED", Path.cwd().parent / "shared"))
    if not (folder / "data/alfworld").is_dir():
        pytest.skip(f"no published data: {folder}/data/alfworld is missing (set SAND_SHARED)")
    return folder


@pytest.fixture(scope="session")
def published(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The games of ETO's sample, in the published folders."""
    folder = tmp_path_factory.mktemp("published")
    sample = json.loads((shared / "data/alfworld/eto_sft_sample.json").read_text())
    wanted = {f"{record['game_file'].removeprefix('data/')}/game.tw-pddl" for record in sample}
    with tarfile.open(shared / "data/alfworld/games.tar.xz") as tar:
        for member in tar:
            if not wanted:
                break
            if member.name in wanted:
                tar.extract(member, folder, filter="data")
                wanted.discard(member.name)
    return folder / "json_2.1.1"
