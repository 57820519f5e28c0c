"""Files and models of the Hugging Face hub, at a pinned commit, checked with the hashes that it states."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sand_dagster.downloads.checking import DownloadError, WrongContent, check_hub_file
from sand_dagster.downloads.http import Unreachable
from sand_dagster.downloads.sources import HubFile, HubModel
from sand_dagster.errors import DiskFull, is_disk_full
from sand_dagster.files import write_whole
from sand_dagster.models.model_folder import WANTED

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def download_hub_file(file: HubFile, path: Path, api: HfApi | None = None) -> str:
    """Bring `file` to `path`, unless it is there; returns what was checked of it, in words.

    It comes through the hub's cache on this machine, which continues what was interrupted.

    Raises:
        WrongContent: what is at `path`, or what came, is not what the hub states.
        Unreachable: there is no network, or no answer.
        DownloadError: the hub refuses.
    """
    from huggingface_hub import HfApi

    api = api or HfApi()
    try:
        return _download_file(file, path, api)
    except Unreachable:
        if not path.exists():
            raise
        return "was there; not checked, because the hub cannot be reached"


def _download_file(file: HubFile, path: Path, api: HfApi) -> str:
    from huggingface_hub import hf_hub_url

    with _explained(file.repository, file.url):
        address = hf_hub_url(
            file.repository,
            file.name,
            repo_type=file.repository_type,
            revision=file.revision,
            endpoint=api.endpoint,
        )
        stated = api.get_hf_file_metadata(url=address, token=api.token)
        etag, size = stated.etag or "", stated.size
        if path.exists():
            return f"was there; {_checked(path, etag, size, 'Move it away, and run the command again')}"
        cached = Path(
            api.hf_hub_download(
                file.repository, file.name, repo_type=file.repository_type, revision=file.revision
            )
        )
    again = "Remove that file, and run the command again"
    checked = _checked(cached, etag, size, again)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(path, lambda temporary: shutil.copyfile(cached, temporary))
    except DiskFull as error:
        raise DownloadError(
            f"no space left on the disk for {path}. Free some space and run it again"
        ) from error
    return checked


def download_model(model: HubModel, folder: Path | None, api: HfApi | None = None) -> tuple[Path, str]:
    """Bring a model to `folder`, by default to the hub's cache, where experiments find it by its name.

    Weights are safetensors only, and no code comes with them. Returns the folder, and what was checked, in
    words.

    Raises:
        WrongContent, Unreachable, DownloadError: as `download_hub_file`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = api or HfApi()
    with _explained(model.repository, model.url):
        came = Path(
            api.snapshot_download(
                model.repository, revision=model.revision, local_dir=folder, allow_patterns=list(WANTED)
            )
        )
        names = [str(path.relative_to(came)) for path in _files(came)]
        stated = api.get_paths_info(model.repository, names, revision=model.revision)
    checks = set()
    known = {each.path: each for each in stated if isinstance(each, RepoFile)}
    for name in names:
        if (file := known.get(name)) is None:
            continue  # something of the user's
        etag = file.lfs.sha256 if file.lfs is not None else file.blob_id
        checks.add(_checked(came / name, etag, file.size, "Remove that file, and run the command again"))
    return came, f"{len(known)} files: {'; '.join(sorted(checks))}"


def _files(folder: Path) -> list[Path]:
    """The files of a model's folder, without what the hub's client keeps beside them."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.relative_to(folder).parts
    )


def _checked(path: Path, etag: str, size: int | None, remedy: str) -> str:
    try:
        return check_hub_file(path, etag, size)
    except WrongContent as error:
        raise WrongContent(f"{error}. {remedy}") from error


@contextmanager
def _explained(repository: str, address: str) -> Iterator[None]:
    """The hub's errors, for the person who has to act."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        raise DownloadError(
            f"{repository} is gated: accept its licence at https://huggingface.co/{repository}, then set "
            "HF_TOKEN to a token of yours (huggingface.co/settings/tokens), and run the command again"
        ) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(
            f"{address}: the hub has no such repository, or not for you. Where it needs an account, set "
            "HF_TOKEN"
        ) from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise Unreachable(f"{address} cannot be had: {error}") from error
    except HfHubHTTPError as error:
        raise DownloadError(f"{address}: {error}") from error
    except Exception as error:
        if is_disk_full(error):
            raise DownloadError(
                f"no space left on the disk for {address}. Free some space and run the command again; it "
                "continues where it stopped"
            ) from error
        # The hub's client has its own HTTP library, whose name has changed from version to version.
        if type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "requests"):
            raise Unreachable(f"{address} cannot be had: {error or type(error).__name__}") from error
        raise
