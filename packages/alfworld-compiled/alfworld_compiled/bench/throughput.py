"""Steps and episodes a second of the ways to play ALFWorld, over the same episodes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from alfworld_compiled.batch import AlfworldBatchEnv
from alfworld_compiled.bench.walks import Player
from alfworld_compiled.engine import CompiledEpisode, CompiledGame
from alfworld_compiled.episode import Episode
from alfworld_compiled.stock import StockEpisode

BATCH = 8
"""Games that a batch plays at once."""

_STEP_LIMIT = 30
_LEAST_SECONDS = 3.0
"""A fast way plays the games again until this time is over."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The figures of one way. An episode lasts from opening its game, already compiled, to its last step."""

    way: str
    episodes: int
    steps: int
    seconds: float
    episodes_a_second: float
    steps_a_second: float
    transcripts: str
    """A hash of all texts in the games' first episodes."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """The ways, the stock engine first: one game after another, or `batch` games in step."""

    batch: int
    step_limit: int
    rates: list[Rate]

    @property
    def same_episodes(self) -> bool:
        """Whether every way gave the same texts."""
        return len({rate.transcripts for rate in self.rates}) == 1

    def render(self) -> str:
        """For a terminal."""
        title = f"throughput, {self.batch} games, {self.step_limit} steps at most"
        lines = [f"{title:44}{'steps/s':>10}{'episodes/s':>12}{'ratio':>9}"]
        first = self.rates[0].steps_a_second
        lines += [
            f"{rate.way:44}{rate.steps_a_second:10,.1f}{rate.episodes_a_second:12,.2f}"
            f"{rate.steps_a_second / first:8,.1f}x"
            for rate in self.rates
        ]
        return "\n".join(lines)


def measure_throughput(games: Sequence[Path], seed: int, cache: Path) -> Throughput:
    """Measure, in a separate process, over `games` that are already compiled in `cache`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, list(games), seed, cache).result()


def _measure(games: list[Path], seed: int, cache: Path) -> Throughput:
    def compiled(path: Path) -> CompiledEpisode:
        return CompiledEpisode(CompiledGame.load(path, cache))

    def compiled_batch() -> Any:
        return AlfworldBatchEnv(games, len(games), step_limit=_STEP_LIMIT, cache=cache)

    ways: dict[str, Callable[[], list[list[str]]]] = {
        "stock, one game after another": lambda: _one_by_one(games, seed, StockEpisode),
        "stock, a process a game, in step": lambda: _in_step(games, seed, lambda: _stock_batch(games)),
        "compiled, one game after another": lambda: _one_by_one(games, seed, compiled),
        "compiled, AlfworldBatchEnv": lambda: _in_step(games, seed, compiled_batch),
    }
    return Throughput(len(games), _STEP_LIMIT, [_rate(way, play) for way, play in ways.items()])


def _rate(way: str, play: Callable[[], list[list[str]]]) -> Rate:
    start, episodes, steps = time.perf_counter(), 0, 0
    first = transcripts = play()
    while True:
        episodes += len(transcripts)
        steps += sum(len(transcript) - 1 for transcript in transcripts)
        seconds = time.perf_counter() - start
        if seconds > _LEAST_SECONDS:
            break
        transcripts = play()
    digest = sha256(repr(first).encode()).hexdigest()[:16]
    return Rate(way, episodes, steps, seconds, episodes / seconds, steps / seconds, digest)


def _one_by_one(games: Sequence[Path], seed: int, start: Callable[[Path], Episode]) -> list[list[str]]:
    """The texts of an episode of each game."""
    transcripts = []
    for game in games:
        player, episode = Player(f"{seed}/{game.parent.name}"), start(game)
        read, steps = [episode.intro], 0
        while steps < _STEP_LIMIT and not episode.won():
            read.append(episode.step(player.choose(episode.admissible())))
            steps += 1
        episode.close()
        transcripts.append(read)
    return transcripts


def _in_step(games: Sequence[Path], seed: int, make: Callable[[], Any]) -> list[list[str]]:
    """The same from an environment of ALFWorld's interface, in the order of `games`."""
    environment = make()
    observations, infos = environment.reset()
    places = [Path(file) for file in infos["extra.gamefile"]]
    players = [Player(f"{seed}/{game.parent.name}") for game in places]
    read = [[observation] for observation in observations]
    dones: Sequence[bool] = [False] * len(places)
    while not all(dones):
        commands = [
            "look" if done else player.choose(admissible)
            for player, admissible, done in zip(players, infos["admissible_commands"], dones, strict=True)
        ]
        playing = [not done for done in dones]
        observations, _, dones, infos = environment.step(commands)
        for transcript, observation, moved in zip(read, observations, playing, strict=True):
            if moved:
                transcript.append(observation)
    environment.close()
    order = {game: index for index, game in enumerate(places)}
    return [read[order[game]] for game in games]


def _stock_batch(games: Sequence[Path]) -> Any:
    """The environment of `AlfredTWEnv.init_env`, without the files that its own search for games needs."""
    import textworld
    import textworld.gym
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler, AlfredInfos

    asked = textworld.EnvInfos(won=True, admissible_commands=True, extras=["gamefile"])
    name = textworld.gym.register_games(
        [str(game) for game in games],
        asked,
        batch_size=len(games),
        asynchronous=True,
        max_episode_steps=_STEP_LIMIT,
        wrappers=[AlfredDemangler(), AlfredInfos],
    )
    with _silent_forks():
        return textworld.gym.make(name)


@contextmanager
def _silent_forks() -> Iterator[None]:
    """Processes forked in this block have no standard error, because textworld's print a traceback at their
    end."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
