"""Files and models of the hub are those that it states for the pinned commit, or it is said what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from sand_dagster.downloads.checking import DownloadError, WrongContent
from sand_dagster.downloads.http import Unreachable
from sand_dagster.downloads.hub import download_hub_file, download_model
from sand_dagster.downloads.sources import HubFile, HubModel
from sand_dagster.models.model_folder import present
from sand_dagster.models.settings import ModelSource
from tests.downloads.hub import COMMIT, Hub
from tests.downloads.server import serving

DATA = b'[{"id": "alfworld_0"}]'
MODEL = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"a pickle",
    "modeling_own.py": b"import os",
}
FILE = HubFile("owner/set", COMMIT, "data/a.json", "a.json")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    repositories = {"datasets/owner/set": {"data/a.json": DATA}, "models/owner/model": dict(MODEL)}
    with serving(Hub(repositories, {"data/a.json", "model.safetensors"})) as started:
        yield started


def test_a_file_is_the_one_that_the_hub_states(hub: Hub, tmp_path: Path) -> None:
    path, api = tmp_path / "sand" / "a.json", HfApi(endpoint=hub.url)
    said = download_hub_file(FILE, path, api)
    assert said == "SHA-256 is the one that the hub states for this revision"
    assert path.read_bytes() == DATA and [each.name for each in path.parent.iterdir()] == ["a.json"]
    assert all(COMMIT in asked for asked in hub.asked if "resolve" in asked)
    assert download_hub_file(FILE, path, api).startswith("was there; SHA-256")
    path.write_bytes(b"[]")
    with pytest.raises(WrongContent, match="Move it away"):
        download_hub_file(FILE, path, api)
    assert path.read_bytes() == b"[]"


def test_a_file_that_is_there_is_kept_where_the_hub_cannot_be_reached(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    path = tmp_path / "a.json"
    with pytest.raises(Unreachable, match=r"huggingface\.co/datasets/owner/set/resolve"):
        download_hub_file(FILE, path, HfApi(endpoint="http://127.0.0.1:9"))
    path.write_bytes(DATA)
    said = download_hub_file(FILE, path, HfApi(endpoint="http://127.0.0.1:9"))
    assert said == "was there; not checked, because the hub cannot be reached"


def test_other_bytes_than_stated_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.sent["data/a.json"] = DATA.replace(b"0", b"1")
    with pytest.raises(WrongContent, match="the hub states the SHA-256"):
        download_hub_file(FILE, tmp_path / "a.json", HfApi(endpoint=hub.url))
    assert not (tmp_path / "a.json").exists()


def test_a_model_comes_without_code_and_pickles_and_is_checked(hub: Hub, tmp_path: Path) -> None:
    model = HubModel("owner/model", COMMIT)
    folder, said = download_model(model, tmp_path / "model", HfApi(endpoint=hub.url))
    assert folder == tmp_path / "model"
    there = {path.name for path in folder.iterdir() if path.is_file()}
    assert there == {"config.json", "model.safetensors"}
    assert (
        said.startswith("2 files: ")
        and "SHA-256 is the one that the hub states" in said
        and "git hash is the one" in said
    )
    (folder / "model.safetensors").write_bytes(b"another")
    with pytest.raises(WrongContent, match=r"model\.safetensors: .*Remove that file"):
        download_model(model, tmp_path / "model", HfApi(endpoint=hub.url))


def test_a_model_in_the_cache_is_found_by_its_name_and_revision(hub: Hub, tmp_path: Path) -> None:
    folder, _ = download_model(HubModel("owner/model", COMMIT), None, HfApi(endpoint=hub.url))
    found = present(ModelSource(model="owner/model", revision=COMMIT))
    assert found == folder.resolve() and (folder / "model.safetensors").read_bytes() == b"weights"


def test_a_gated_model_and_one_that_is_not_there_are_explained(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="no such repository"):
        download_model(HubModel("owner/nothing", COMMIT), None, HfApi(endpoint=hub.url))
    hub.gated = True
    with pytest.raises(DownloadError, match=r"is gated: accept its licence .* HF_TOKEN"):
        download_model(HubModel("owner/model", COMMIT), None, HfApi(endpoint=hub.url))
