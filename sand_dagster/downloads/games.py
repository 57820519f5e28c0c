"""ALFWorld's published games out of their archive."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from sand_dagster.downloads.checking import DownloadError
from sand_dagster.downloads.sources import ALFWORLD_GAMES
from sand_dagster.errors import DiskFull
from sand_dagster.files import write_folder

FOLDER, GAME = "json_2.1.1", "game.tw-pddl"
_MOST_BYTES = 2 << 30
"""The games are 330 MB; more than this is another archive, or one made to fill the disk."""


def count_games(folder: Path) -> dict[str, int]:
    """How many games each split in `folder` has."""
    return {split: sum(1 for _ in (folder / split).glob(f"*/*/{GAME}")) for split in ALFWORLD_GAMES}


def all_games(folder: Path) -> bool:
    """Whether every split in `folder` has at least its published number of games."""
    return all(count >= ALFWORLD_GAMES[split] for split, count in count_games(folder).items())


def unpack_games(archive: Path, folder: Path) -> None:
    """Write the games in `archive` as `folder`, completely or not at all.

    Raises:
        DownloadError: the archive has other games than the published one, or there is no space.
    """

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(archive) as packed:
            for member in _games(packed):
                place = temporary.joinpath(*PurePosixPath(member.filename).parts[1:])
                place.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, place.open("wb") as target:
                    shutil.copyfileobj(source, target)
        if not all_games(temporary):
            found = _said(count_games(temporary))
            raise DownloadError(f"{archive}: expected at least {_said(ALFWORLD_GAMES)} games, found {found}")

    try:
        write_folder(folder, write)
    except DiskFull as error:
        raise DownloadError(
            f"no space left on the disk for {folder}. Free some space and run the command again"
        ) from error


def _games(packed: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The archive's games. What lies elsewhere than a published game does is left in it."""
    found = []
    for member in packed.infolist():
        parts = PurePosixPath(member.filename).parts
        ordinary = not stat.S_ISLNK(member.external_attr >> 16) and ".." not in parts
        if (
            ordinary
            and len(parts) == 5
            and parts[0] == FOLDER
            and parts[1] in ALFWORLD_GAMES
            and parts[4] == GAME
        ):
            found.append(member)
    if (size := sum(member.file_size for member in found)) > _MOST_BYTES:
        raise DownloadError(
            f"{packed.filename} would unpack to {size:,} bytes, which is not the published archive"
        )
    return found


def _said(games: dict[str, int]) -> str:
    return ", ".join(f"{split} {count}" for split, count in games.items())
