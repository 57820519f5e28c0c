"""ALFWorld: household tasks in text (Shridhar et al. 2021), from published `game.tw-pddl` files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alfworld_compiled import CompiledGame, UnsupportedGame
from alfworld_compiled.episode import Episode
from alfworld_compiled.games import SPLITS, GameError, kind_of, list_games, locate, read_game
from alfworld_compiled.spelling import PUT_TOGGLE, Spelling, spelling_of
from alfworld_compiled.stock import StockEpisode
from sand_dagster.environments import Progress, UserPath
from sand_dagster.environments.alfworld.domain import AlfworldDomain
from sand_dagster.environments.alfworld.environment import AlfworldEnvironment, OpenedGame
from sand_dagster.environments.alfworld.experts import named_in, read_recordings
from sand_dagster.environments.alfworld.selection import Selection
from sand_dagster.fingerprints import content_digest, file_digest
from sand_dagster.recordings.contents import content_of
from sand_dagster.recordings.recording import Recordings
from sand_dagster.types import Task, Trajectory
from sand_dagster.verdicts import Keep

DOMAIN = AlfworldDomain()
PACKAGES = ("alfworld", "textworld", "fast-downward-textworld")
PATHS = ("games", "experts")
PLAYING = ("engine", "unsupported", "grammar")

_LOG = logging.getLogger(__name__)
_TRAIN = next(folder for folder, split in SPLITS.items() if split == "train")
_OPEN_GAMES = 256
"""A process keeps this many compiled games open, of about 1 MB each."""


class Limits(BaseModel):
    """How many games of a split are used; all if there is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: int | None = Field(
        None, ge=0, description="training games; with `experts`, of those that the file names"
    )
    seen: int | None = Field(None, ge=0, description="test games in rooms of the training games")
    unseen: int | None = Field(None, ge=0, description="test games in rooms without training games")


class Options(BaseModel):
    """The `environment` section of an experiment on ALFWorld."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    games: UserPath = Field(description="folder of json_2.1.1: train/, valid_seen/, valid_unseen/")
    engine: Literal["compiled", "stock"] = Field(
        "compiled", description="our engine, which plays the same texts and can fork, or textworld's own"
    )
    unsupported: Literal["leave_out", "stock"] = Field(
        "leave_out",
        description="a game that the compiler refuses is left out and counted, or played by the stock engine",
    )
    grammar: Literal["as_published", "put_toggle"] = Field(
        "as_published",
        description="the agent's words: the game file's own, or the older grammar of Figure 7's actions",
    )
    limits: Limits = Field(Limits(), description="how many games of each split")
    step_limit: int = Field(
        30, ge=1, description="turns in an episode: 30 in the paper, 40 in ETO's protocol"
    )
    experts: UserPath | None = Field(
        None,
        description="expert trajectories: a file in ETO's format (JSON), JSON lines with `messages`, or a "
        "folder of Parquet files. Training games are those that it names",
    )
    keep: Keep = Field(
        "winning",
        description="which expert trajectories of the file are accepted after their replay: those that still "
        "win, every action accepted; or all that can be replayed, with the reward that they reach",
    )


def make(options: Options, home: Path) -> AlfworldEnvironment:
    """An environment for one worker process; nothing is opened before its first `reset`."""

    @lru_cache(_OPEN_GAMES)
    def compiled(path: Path) -> CompiledGame:
        return CompiledGame.load(path, compiled_games(home))

    def play(path: Path) -> Episode:
        if options.engine == "stock":
            return StockEpisode(path)
        try:
            return compiled(path).start()
        except UnsupportedGame:
            if options.unsupported == "leave_out":
                raise
            return StockEpisode(path)

    def open_game(task: Task) -> OpenedGame:
        path = locate(options.games, str(task.spec["game"]))
        spoken = _spelling(path)
        return OpenedGame(play(path), spoken, _heard(options, spoken))

    return AlfworldEnvironment(open_game, cheap_fork=options.engine == "compiled")


def files(options: Options, home: Path) -> Mapping[str, str]:
    """Content hashes of the games and of the file of expert trajectories."""
    folders = SPLITS if options.games.is_dir() else ()
    games = [options.games / game for folder in folders for game in list_games(options.games, folder)]
    found = {"games": content_digest(options.games, games) if games else ""}
    if options.experts is not None:
        found["experts"] = content_of(options.experts)
    return found


def compiled_games(home: Path) -> Path:
    """The folder of compiled games."""
    return home / "alfworld" / "compiled"


def tasks(options: Options, home: Path, progress: Progress) -> list[Task]:
    """The games of all splits, sorted by path. If a split has a limit, games are chosen by their path's hash.

    Games marked as unsolvable are left out, as in alfworld itself. With the compiled engine all games are
    compiled here, once. Games that it refuses are left out, counted and named in the log, unless
    `unsupported` is "stock". With a file of expert trajectories, training games are those that it names.

    Raises:
        GameError: the folder is missing, holds no game, or a game cannot be read.
        RecordError: nothing in the file of expert trajectories can be read, or none of its rows names a game.
    """
    listed = {folder: list(list_games(options.games, folder)) for folder in SPLITS}
    if not any(listed.values()):
        raise GameError(f"{options.games} holds no game.tw-pddl in {', '.join(SPLITS)}")
    if options.experts is not None:
        listed[_TRAIN] = named_in(options.experts, listed[_TRAIN])
    limits = {folder: getattr(options.limits, split) for folder, split in SPLITS.items()}
    for folder, games in listed.items():
        if not games and limits[folder] != 0:
            _LOG.warning("no game in %s: there are no tasks of this split", options.games / folder)
    total = sum(
        len(games) if limits[f] is None else min(limits[f], len(games)) for f, games in listed.items()
    )
    selection = Selection(options.games, total, progress)
    if options.engine == "compiled" and options.unsupported == "leave_out":
        selection.compile_into = compiled_games(home)
    chosen = [
        _task(options.games, game, SPLITS[folder], options.step_limit)
        for folder, games in listed.items()
        for game in selection.choose(games, limits[folder])
    ]
    selection.log()
    return chosen


def experts(options: Options, home: Path, tasks: Sequence[Task], progress: Progress) -> Iterator[Trajectory]:
    """None: ALFWorld ships no expert, and trajectories from a file are `recordings`."""
    return iter(())


def recordings(options: Options, home: Path, tasks: Sequence[Task]) -> Recordings | None:
    """The rows of the file `options.experts`, in the words that the environment uses.

    Raises:
        RecordError: nothing in the file can be read, or none of its rows names a game.
    """
    if options.experts is None:
        return None

    def reword(task: Task, observation: str) -> str:
        path = locate(options.games, str(task.spec["game"]))
        return _heard(options, _spelling(path)).reword(observation)

    rows = list(read_recordings(options.experts, tasks, reword))
    return Recordings(str(options.experts), rows, options.keep)


@cache
def _spelling(path: Path) -> Spelling:
    return spelling_of(read_game(path).grammar)


def _heard(options: Options, spoken: Spelling) -> Spelling:
    return PUT_TOGGLE if options.grammar == "put_toggle" else spoken


def _task(games: Path, game: str, split: str, step_limit: int) -> Task:
    folder = str(Path(game).parent)
    content = file_digest(games / game)
    return Task(f"alfworld/{folder}", "alfworld", split, kind_of(game), step_limit, {"game": game}, content)
