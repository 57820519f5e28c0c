"""The engines play the generated games like the simulation, and the expert's data can be replayed on them."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from sand_dagster.environments import environment_kind
from sand_dagster.types import Task
from toy_alfworld import games as household
from toy_alfworld.games.game import TASK_KINDS, Game
from toy_alfworld.games.generation import STEP_LIMIT
from toy_alfworld.games.simulation import Simulation
from toy_alfworld.games.store import make_games

STEPS = 24


def quiet(done: int, total: int) -> None:
    """Progress that is not shown."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", params=["usual", "odd"])
def options(request: pytest.FixtureRequest) -> household.Options:
    return household.Options(train=6, seen=2, unseen=2, seed=4, rules=request.param)


@pytest.fixture(scope="module")
def tasks(options: household.Options, home: Path) -> list[Task]:
    return household.tasks(options, home, quiet)


def made(options: household.Options) -> dict[str, Game]:
    counts = {"train": options.train, "seen": options.seen, "unseen": options.unseen}
    return {game.path: game for game in make_games(counts, options.seed, options.step_limit, options.rules)}


def walk(simulation: Simulation, rng: Random) -> str:
    """A plausible or a foolish action for this state."""
    game, here = simulation.game, simulation.location
    thing = simulation.holding or rng.choice(list(game.places))
    near = [t for t, place in simulation.places.items() if place == here and here is not None]
    place = rng.choice(game.room.receptacles)
    foolish = [f"take {thing} from {place}", f"clean {thing} with {place}", "dance", f"Go to {place}", "help"]
    if here is None or rng.random() < 0.25:
        return rng.choice([f"go to {place}", "look", f"  go   to {place}. ", *foolish])
    target = rng.choice(near) if near else thing
    return rng.choice(
        [
            *(f"{verb} {here}" for verb in ("open", "open", "close", "examine", "go to")),
            *(f"{verb} {thing} with {here}" for verb in ("clean", "heat", "cool")),
            *(f"{verb} {target}" for verb in ("use", "toggle", "examine")),
            *[f"take {target} from {here}"] * 4,
            *[f"put {thing} in/on {here}", f"move {thing} to {here}"] * 2,
            *(f"slice {target} with {thing}", f"examine {thing}", "inventory", "look"),
        ]
    )


@pytest.mark.parametrize(("engine", "chosen"), [("compiled", slice(None)), ("stock", slice(1, 3))])
def test_the_simulation_speaks_as_the_engine_does(
    options: household.Options, home: Path, tasks: list[Task], engine: str, chosen: slice
) -> None:
    games = made(options)
    environment = household.make(options.model_copy(update={"engine": engine}), home)
    accepted = 0
    for number, task in enumerate(tasks[chosen]):
        game, rng = games[str(task.spec["game"])], Random(number)
        simulation = Simulation(game)
        assert environment.reset(task) == simulation.instruction
        for _ in range(STEPS):
            action = walk(simulation, rng)
            mine, theirs = simulation.step(action), environment.step(action)
            assert (action, mine) == (action, theirs)
            accepted += mine.valid
            if mine.done:
                break
    environment.close()
    assert accepted > STEPS // 2


def test_walkthroughs_win_on_the_engine(options: household.Options, home: Path, tasks: list[Task]) -> None:
    games = made(options)
    environment = household.make(options, home)
    for task in tasks:
        environment.reset(task)
        results = [environment.step(command) for command in games[str(task.spec["game"])].walkthrough]
        assert [result.reward for result in results] == [0.0] * (len(results) - 1) + [1.0]
    environment.close()


def test_experts_win_and_replay_on_the_engine(
    options: household.Options, home: Path, tasks: list[Task]
) -> None:
    heard: list[tuple[int, int]] = []
    chosen = [*tasks[:4], tasks[-1]]
    found = list(household.experts(options, home, chosen, lambda *p: heard.append(p)))
    assert [trajectory.task for trajectory in found] == tasks[:4]
    assert heard == [(done, 4) for done in (1, 2, 3, 4)]
    games = made(options)
    stock = household.make(options.model_copy(update={"engine": "stock"}), home)
    stock.reset(found[0].task)
    results = [stock.step(step.action) for step in found[0].steps]
    stock.close()
    assert [r.observation for r in results] == [s.observation for s in found[0].steps]
    assert results[-1].reward == 1.0
    for trajectory in found:
        assert trajectory.reward == 1.0 and len(trajectory.steps) <= options.step_limit
        simulation = Simulation(games[str(trajectory.task.spec["game"])])
        assert trajectory.instruction == simulation.instruction
        for step in trajectory.steps:
            assert step.thought
            assert simulation.step(step.action).observation == step.observation


def test_it_is_an_environment_kind_with_alfworlds_domain() -> None:
    kind = environment_kind("household")
    assert kind.DOMAIN is environment_kind("alfworld").DOMAIN
    assert kind.DOMAIN.normalise("put apple 1 in/on fridge 1") == kind.DOMAIN.normalise(
        "move apple 1 to fridge 1"
    )
    with pytest.raises(ValueError, match="rooms"):
        kind.Options.model_validate({"rooms": 3})


def test_tasks_cover_the_types_in_turn(tasks: list[Task], options: household.Options) -> None:
    assert [task.kind for task in tasks[:6]] == list(TASK_KINDS)
    assert [task.split for task in tasks] == ["train"] * 6 + ["seen"] * 2 + ["unseen"] * 2
    assert len({task.id for task in tasks}) == len(tasks)
    assert all(task.environment == "household" and task.step_limit == STEP_LIMIT for task in tasks)
    games = made(options)
    rooms = {game.room.scene for game in games.values() if game.split == "train"}
    assert {game.room.scene for game in games.values() if game.split == "seen"} <= rooms
