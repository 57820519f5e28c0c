"""The household world: ALFWorld games that the project generates itself, played on ALFWorld's engine.

For games by the thousand without the engine: `generation.make_game`, `simulation.Simulation`, `playing.play`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alfworld_compiled.games import kind_of
from sand_dagster.environments import Progress, alfworld
from sand_dagster.environments.alfworld.environment import AlfworldEnvironment
from sand_dagster.fingerprints import file_digest
from sand_dagster.ids import identify
from sand_dagster.types import Step, Task, Trajectory
from toy_alfworld.games.catalogue import Rules
from toy_alfworld.games.expert import Expert
from toy_alfworld.games.generation import STEP_LIMIT
from toy_alfworld.games.playing import expert_seed
from toy_alfworld.games.rooms import Split
from toy_alfworld.games.store import SPLITS, altered, games_folder, generated

DOMAIN = alfworld.DOMAIN
PACKAGES = alfworld.PACKAGES
PATHS: tuple[str, ...] = ()
PLAYING = ("engine",)


class Options(BaseModel):
    """The `environment` section of an experiment in the household world."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: int = Field(default=80, ge=0, description="training games")
    seen: int = Field(default=100, ge=0, description="new test games in the rooms of the training games")
    unseen: int = Field(default=100, ge=0, description="test games in rooms without training games")
    seed: int = Field(default=0, ge=0, description="draws the rooms, the objects and the tasks")
    rules: Rules = Field(
        default="usual",
        description="`usual`: ALFWorld's; `odd`: a microwave cleans, a fridge heats, a sink cools",
    )
    step_limit: int = Field(
        default=STEP_LIMIT, ge=20, description="turns in an episode; the expert wins every game within them"
    )
    engine: Literal["compiled", "stock"] = Field(
        default="compiled",
        description="our engine, which plays the same texts and can fork, or textworld's own",
    )


def make(options: Options, home: Path) -> AlfworldEnvironment:
    """An environment for one worker process; nothing is opened before its first `reset`."""
    games = alfworld.Options.model_validate(
        {"games": _folder(options, home), "engine": options.engine, "step_limit": options.step_limit}
    )
    return alfworld.make(games, home)


def tasks(options: Options, home: Path, progress: Progress) -> list[Task]:
    """All tasks: `train`, `seen`, `unseen`, in the order of generation. Makes the games that are missing."""
    folder = _folder(options, home)
    games = generated(folder, _counts(options), options.seed, options.step_limit, progress, options.rules)
    return [_task(folder, game, split, options.step_limit) for split in SPLITS for game in games[split]]


def files(options: Options, home: Path) -> Mapping[str, str]:
    """The first generated game that was changed since, usually none; `tasks` makes it again."""
    return {"altered game": altered(_folder(options, home)) or ""}


def experts(options: Options, home: Path, tasks: Sequence[Task], progress: Progress) -> Iterator[Trajectory]:
    """The exploring expert's trajectories for the training tasks among `tasks`, played on the engine.

    Raises:
        RuntimeError: the expert lost a game that it has won in the simulation.
    """
    training = [task for task in tasks if task.split == "train"]
    environment = make(options, home)
    try:
        for done, task in enumerate(training, start=1):
            yield _demonstrate(environment, task, options.rules)
            progress(done, len(training))
    finally:
        environment.close()


def _demonstrate(environment: AlfworldEnvironment, task: Task, rules: Rules) -> Trajectory:
    instruction = environment.reset(task)
    seed = expert_seed(Path(str(task.spec["game"])).parent.name)
    expert = Expert(instruction, seed, rules=rules)
    steps: list[Step] = []
    reward = 0.0
    while len(steps) < task.step_limit and reward < 1.0:
        turn = expert.act()
        result = environment.step(turn.action)
        expert.observe(turn.action, result.observation)
        steps.append(Step(turn.thought, turn.action, result.observation))
        reward = result.reward
    if reward < 1.0:
        raise RuntimeError(
            f"task {task.id}: the expert has not won after {len(steps)} steps, but it did in the simulation, "
            "so the engine and the simulation differ. Its last step: "
            f"{steps[-1].action!r} gave {steps[-1].observation!r}"
        )
    return Trajectory(identify("expert", task.id, seed), task, instruction, steps, reward)


def _counts(options: Options) -> Mapping[Split, int]:
    return {"train": options.train, "seen": options.seen, "unseen": options.unseen}


def _folder(options: Options, home: Path) -> Path:
    return games_folder(home, _counts(options), options.seed, options.step_limit, options.rules)


def _task(games: Path, game: str, split: Split, step_limit: int) -> Task:
    folder = Path(game).parent
    name = f"household/{split}/{folder.parent.name}/{folder.name}"
    content = file_digest(games / game)
    return Task(name, "household", split, kind_of(game), step_limit, {"game": game}, content)
