import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sand_dagster.bench.scienceworld_start import containers_of
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.environments.scienceworld import DOMAIN, Options
from sand_dagster.environments.scienceworld.environment import ScienceWorldEnvironment
from sand_dagster.environments.scienceworld.specification import simplifications, spec_of
from sand_dagster.environments.scienceworld.task_types import TASK_TYPES
from sand_dagster.interfaces import Environment, EnvironmentDied
from sand_dagster.types import Step, Task

PLANT = Task("scienceworld/find-plant/0", "scienceworld", "train", "find-plant", 15, spec_of("find-plant", 0))


@pytest.fixture(scope="module")
def environment() -> Iterator[ScienceWorldEnvironment]:
    with closing(ScienceWorldEnvironment()) as environment:
        yield environment


def test_the_instruction_is_the_task_description(environment: ScienceWorldEnvironment) -> None:
    instruction = environment.reset(PLANT)
    assert instruction.startswith("Task Description:\nYour task is to find a(n) plant.")
    assert DOMAIN.prompt(instruction).endswith(instruction)
    assert "{task}" not in DOMAIN.prompt(instruction)
    assert isinstance(environment, Environment)


def test_what_the_simulator_does_not_know_is_invalid(environment: ScienceWorldEnvironment) -> None:
    environment.reset(PLANT)
    refused = environment.step("fly to the moon")
    assert (refused.observation, refused.valid) == (DOMAIN.refusal, False)
    assert environment.step(" Teleport  to kitchen.").observation == "You teleport to the kitchen."


def test_the_reward_never_falls_and_a_wrong_focus_ends_the_episode(
    environment: ScienceWorldEnvironment,
) -> None:
    environment.reset(PLANT)
    before = environment.step("teleport to greenhouse")
    assert before.reward > 0
    assert not before.done
    wrong = environment.step("focus on bee hive")
    assert wrong.done
    assert wrong.reward == before.reward


def test_an_ambiguous_request_waits_for_a_number(environment: ScienceWorldEnvironment) -> None:
    def ask() -> None:
        environment.reset(PLANT)
        environment.step("teleport to greenhouse")
        assert environment.step("pick up flower pot").observation.startswith("Ambiguous request")

    ask()
    assert environment.step("0").observation.startswith("You move the flower pot")
    ask()
    cancelled = environment.step("teleport to kitchen").observation
    assert not cancelled.startswith("You teleport")
    assert "greenhouse" in environment.step("look around").observation


def test_a_fork_is_in_the_same_place_as_its_origin(environment: ScienceWorldEnvironment) -> None:
    environment.reset(PLANT)
    for action in ("teleport to greenhouse", "look around", "nonsense"):
        environment.step(action)
    with closing(environment.fork()) as fork:
        moved = environment.step("teleport to kitchen")
        assert fork.step("look around").observation.startswith("This room is called the greenhouse")
        assert fork.step("teleport to kitchen") == moved
        lent = fork._simulator
    assert lent is not None
    assert lent.alive
    with closing(environment.fork()) as fork:
        assert fork._simulator is lent, "a fork's JVM serves the next fork"
        assert fork.step("look around") == environment.step("look around")


def test_closing_ends_the_jvms_of_forks_too() -> None:
    environment = ScienceWorldEnvironment()
    environment.reset(PLANT)
    fork = environment.fork()
    simulators = [environment._simulator, fork._simulator]
    environment.close()
    environment.close()
    fork.close()
    assert not any(simulator.alive for simulator in simulators if simulator is not None)


def test_a_dead_simulator_is_reported_and_replaced(environment: ScienceWorldEnvironment) -> None:
    environment.reset(PLANT)
    simulator = environment._simulator
    assert simulator is not None
    os.kill(simulator.pid, signal.SIGKILL)
    with pytest.raises(EnvironmentDied, match="Java process"):
        environment.step("look around")
    environment.reset(PLANT)
    assert environment.step("look around").valid


def test_a_task_that_does_not_exist_is_named(environment: ScienceWorldEnvironment) -> None:
    made, other = spec_of("find-plant", 0), {"task": "find-plant", "variation": 0}
    for spec, said in (
        (spec_of("find-gold", 0), "no task type 'find-gold'"),
        (spec_of("find-plant", 300), "300 variations"),
        (other, "no simplifications and no version, .* materialise `tasks` again"),
        ({**made, "version": "1.3.0"}, r"made for scienceworld 1\.3\.0, but 1\.2\.3 is installed"),
        (
            {**made, "simplifications": "easy,openContainers"},
            "'easy,openContainers' were requested, .* uses ''",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            environment.reset(Task("x", "scienceworld", "train", "find-plant", 15, spec))


def test_the_table_of_task_types_is_the_simulators(environment: ScienceWorldEnvironment) -> None:
    environment.reset(PLANT)
    simulator = environment._simulator
    assert simulator is not None
    for name, kind in TASK_TYPES.items():
        simulator.load(name, 0, simplifications(name))
        assert simulator.variations() == (list(kind.train), list(kind.dev), list(kind.test))


def test_all_that_figure_8_calls_open_is_open_and_each_type_is_played_as_its_task_says(
    environment: ScienceWorldEnvironment, tmp_path: Path
) -> None:
    for name in TASK_TYPES:
        task = replace(PLANT, id=f"scienceworld/{name}/0", kind=name, spec=spec_of(name, 0))
        environment.reset(task)
        assert environment._simulator is not None
        server = environment._simulator._server
        assert sorted(server.getSimplificationsUsed().split(", ")) == sorted(
            str(task.spec["simplifications"]).split(",")
        )
        electrical = "power-component" in name or "conductivity" in name
        assert ("noElectricalAction" in server.getSimplificationsUsed()) is not electrical
        server.getObjectTree(str(tmp_path))
        containers = dict(containers_of(json.loads((tmp_path / "objectTree.json").read_text())))
        assert len(containers) > 30, f"{name}: cupboards, fridges, ovens, pots"
        assert [where for where, is_open in containers.items() if not is_open] == [], name


async def test_a_pool_replays_and_survives_a_dead_jvm(tmp_path: Path) -> None:
    async with EnvironmentPool("scienceworld", Options(), tmp_path, workers=1) as pool:
        episode = await pool.open(PLANT)
        first = await episode.step("teleport to greenhouse")
        seen = await episode.step("look around")
        await episode.close()
        prefix = [
            Step("", "teleport to greenhouse", first.observation),
            Step("", "look around", seen.observation),
        ]
        episode = await pool.open(PLANT, prefix)
        (jvm,) = children(pool.pids[0])
        os.kill(jvm, signal.SIGKILL)
        with pytest.raises(
            EnvironmentDied, match="task scienceworld/find-plant/0: the ScienceWorld simulator"
        ):
            await episode.step("look around")
        await episode.close()
        episode = await pool.open(PLANT, prefix)
        assert (await episode.step("look around")).observation == seen.observation
        assert pool.counts.died == 1
        (worker,) = pool.pids
        (jvm,) = children(worker)
    assert not running(jvm)
    assert not running(worker)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
