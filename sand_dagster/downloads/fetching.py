"""What `sand data download SUBJECT` does, subject by subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sand_dagster.downloads import sources
from sand_dagster.downloads.checking import DownloadError
from sand_dagster.downloads.games import FOLDER, all_games, count_games, unpack_games
from sand_dagster.downloads.http import Report, download
from sand_dagster.downloads.hub import download_hub_file, download_model
from sand_dagster.downloads.shop import write_documents
from sand_dagster.downloads.sources import HubFile, HubModel, RemoteFile, Subject

Source = RemoteFile | HubFile | HubModel

_SOURCES: dict[Subject, tuple[Source, ...]] = {
    Subject.ALFWORLD: (sources.ALFWORLD_ARCHIVE,),
    Subject.SCIENCEWORLD: sources.SCIENCEWORLD,
    Subject.WEBSHOP: (sources.WEBSHOP_ITEMS, sources.WEBSHOP_INSTRUCTIONS),
    Subject.ETO: sources.ETO,
    Subject.MODELS: sources.MODELS,
}

ReportOf = Callable[[str], Report]
"""Gives, for the name of a file, the function that shows how far it is."""


class Done(NamedTuple):
    """A file or folder that is here, and what was checked of it, in words."""

    path: Path
    checked: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A source, and where it goes. `path` is None for a model that goes to the hub's cache."""

    source: Source
    path: Path | None

    @property
    def name(self) -> str:
        """For a person to choose it by."""
        return self.source.repository if isinstance(self.source, HubModel) else Path(self.source.place).name


def wanted(subject: Subject, to: Path | None, only: str = "") -> list[Wanted]:
    """What belongs to a subject and where it goes: below `to`, by default where the experiments look.

    `only` leaves those whose name has it.

    Raises:
        DownloadError: no name has it.
    """
    folder = to or sources.default_folder(subject)
    every = [Wanted(source, _place(source, folder, to)) for source in _SOURCES[subject]]
    chosen = [each for each in every if only.lower() in each.name.lower()]
    if not chosen:
        names = ", ".join(each.name for each in every)
        raise DownloadError(f"{subject.value} has nothing with {only!r} in its name; it has {names}")
    return chosen


def _place(source: Source, folder: Path, to: Path | None) -> Path | None:
    if isinstance(source, HubModel):
        return None if to is None else folder / source.repository.rpartition("/")[2]
    return folder / source.place


def fetch(subject: Subject, to: Path | None, report: ReportOf, only: str = "") -> Iterator[Done]:
    """Bring what belongs to a subject, one after another; what is there and right is left as it is.

    Raises:
        DownloadError: something cannot be had, or is not the published file. What was done before is kept.
    """
    chosen = wanted(subject, to, only)
    folder = to or sources.default_folder(subject)
    if subject is not Subject.MODELS or to is not None:
        _require_folder(folder)
    if subject is Subject.ALFWORLD:
        yield _games(folder, report)
        return
    for each in chosen:
        yield _fetched(each, report)
    if subject is Subject.WEBSHOP and not only:
        yield _documents(folder)


def _require_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise DownloadError(f"{error.filename or folder} is not a folder. Give another --to") from error
    except PermissionError as error:
        raise DownloadError(f"no permission to make {folder}. Give another --to") from error


def _fetched(each: Wanted, report: ReportOf) -> Done:
    if isinstance(each.source, HubModel):
        return Done(*download_model(each.source, each.path))
    assert each.path is not None, f"{each.name} has no place"
    if isinstance(each.source, HubFile):
        return Done(each.path, download_hub_file(each.source, each.path))
    return Done(each.path, download(each.source, each.path, report(each.name)))


def _games(folder: Path, report: ReportOf) -> Done:
    games = folder / FOLDER
    if games.exists():
        if not all_games(games):
            found = ", ".join(f"{split} {count}" for split, count in count_games(games).items())
            raise DownloadError(
                f"{games} is there, and has not all published games: {found}. Move it away, and run the "
                "command again"
            )
        return Done(games, "was there; it has as many games as the published results are about")
    archive = folder / sources.ALFWORLD_ARCHIVE.place
    checked = download(sources.ALFWORLD_ARCHIVE, archive, report(archive.name))
    unpack_games(archive, games)
    archive.unlink()
    counts = ", ".join(f"{split} {count}" for split, count in count_games(games).items())
    return Done(games, f"{checked}; games: {counts}")


def _documents(folder: Path) -> Done:
    path = folder / sources.WEBSHOP_DOCUMENTS
    if path.exists():
        return Done(path, "was there; it was not made again")
    items, instructions = sources.WEBSHOP_ITEMS.place, sources.WEBSHOP_INSTRUCTIONS.place
    products = write_documents(path, folder / items, folder / instructions)
    return Done(path, f"made of the two files; {products:,} products")


def settings(subject: Subject, to: Path | None, only: str = "") -> list[str]:
    """The lines of an experiment that name what was downloaded; none where the shipped ones find it.

    Of a model in the hub's cache the revision is named: without it, a run asks the hub which is the newest.
    """
    folder = (to or sources.default_folder(subject)).absolute()
    lines: list[str] = []
    for each in wanted(subject, to, only):
        match each.source:
            case HubModel() if each.path is None:
                lines.append(f"model.revision: {each.source.revision}  # {each.source.repository}")
            case HubModel():
                lines.append(f"model.base: {folder / each.name.rpartition('/')[2]}")
            case HubFile() if to is not None:
                lines.append(f"environment.experts: {folder / each.source.place}")
            case _:
                pass
    if to is None or lines:
        return lines
    return {
        Subject.ALFWORLD: [f"environment.games: {folder / FOLDER}"],
        Subject.SCIENCEWORLD: [f"environment.indices: {folder / 'scienceworld'}"],
        Subject.WEBSHOP: [
            f"environment.products: {folder / sources.WEBSHOP_DOCUMENTS}",
            f"environment.instructions: {folder / sources.WEBSHOP_INSTRUCTIONS.place}",
        ],
    }[subject]
