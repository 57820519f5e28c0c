"""The lessons: the lab plays as the simulator does, its players win, and the teachers say what is so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from sand_dagster.environments.scienceworld.environment import ScienceWorldEnvironment
from sand_dagster.environments.scienceworld.gold_paths import gold_path
from sand_dagster.environments.scienceworld.simulator import Simulator
from sand_dagster.environments.scienceworld.specification import spec_of
from sand_dagster.environments.scienceworld.task_types import TASK_TYPES
from sand_dagster.prompts.figures import parse_critique, parse_deliberation
from sand_dagster.types import Task
from toy_scienceworld.documents import LESSONS, SHARES, Teacher, draw
from toy_scienceworld.knowledge import LIFESPANS, Thing, called, things
from toy_scienceworld.lab import Goal, Rooms, make_lab, record
from toy_scienceworld.player import Belief, Player, best, play
from toy_scienceworld.teachers import judge

LIFESPAN = "lifespan-longest-lived-then-shortest-lived"
PLACES = 8
"""Every so many of a type's training variations are played in the simulator."""


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[Rooms]:
    return record(tmp_path_factory.mktemp("worlds") / "worlds.json", variations=6)


@pytest.fixture(scope="module")
def environment() -> Iterator[ScienceWorldEnvironment]:
    with closing(ScienceWorldEnvironment()) as opened:
        yield opened


def task(kind: str, variation: int) -> Task:
    return Task(f"{kind}-{variation}", "scienceworld", "train", kind, 20, spec_of(kind, variation))


def test_a_line_of_a_room_names_its_things() -> None:
    line = "a flower pot 6 (containing a apple tree in the adult stage, soil)"
    pot, tree, soil = things(line)
    assert (pot.name, soil.name) == ("flower pot 6", "soil")
    assert tree == Thing("apple tree", "plant", "adult", pot="flower pot 6")
    line = "a counter. On the counter is: a bowl (containing a red apple, a banana), a drawer."
    assert [thing.name for thing in things(line)] == ["counter", "bowl", "red apple", "banana", "drawer"]
    line = "a table. On the table is: a blue light bulb, which is off, a green wire."
    assert [thing.name for thing in things(line)] == ["table", "blue light bulb", "green wire"]
    assert next(things("a giant tortoise egg")) == Thing("giant tortoise", "animal", "egg")
    assert list(things("the agent")) == []


@pytest.mark.parametrize("action", ["baby mouse", "mouse", "baby baby mouse"])
def test_an_animal_has_the_names_that_the_simulator_takes(
    environment: ScienceWorldEnvironment, action: str
) -> None:
    environment.reset(task("lifespan-shortest-lived", 0))
    environment.step("teleport to outside")
    assert environment.step(f"focus on {action}").observation == "You focus on the baby mouse."
    assert called(action, [Thing("mouse", "animal", "baby")])


def test_lifespans_are_those_of_the_gold_paths(environment: ScienceWorldEnvironment) -> None:
    with closing(Simulator()) as oracle:
        for variation in TASK_TYPES[LIFESPAN].train[::PLACES]:
            found = [a for a in gold_path(oracle, task(LIFESPAN, variation)) if a.startswith("focus on ")]
            longest, shortest = (
                next(name for name in sorted(LIFESPANS, key=len, reverse=True) if action.endswith(name))
                for action in found
            )
            assert LIFESPANS[shortest] < 1 < LIFESPANS[longest], (variation, found)


@pytest.mark.parametrize(
    "kind", [LIFESPAN, "lifespan-shortest-lived", "find-animal", "find-plant", "find-non-living-thing"]
)
def test_the_player_wins_in_the_simulator_too(environment: ScienceWorldEnvironment, kind: str) -> None:
    """So rooms are read, things are named and tasks are understood as the simulator means them."""
    aims = {LIFESPAN: "both", "lifespan-shortest-lived": "shortest"}
    for variation in TASK_TYPES[kind].train[:: 5 * PLACES]:
        description = environment.reset(task(kind, variation))
        if kind in aims:
            goal = Goal(aims[kind])  # type: ignore[arg-type]
        else:
            aim, _, rest = description.partition("find a(n) ")[2].partition(". ")
            box, _, place = rest.partition("move it to the ")[2].rstrip(".\n ").partition(" in the ")
            goal = Goal(aim, box, place)  # type: ignore[arg-type]
        assert goal.description().split() == description.split()
        belief, rng, reward = Belief(goal), Random(variation), 0.0
        for _ in range(12):
            action = best(rng, belief)
            result = environment.step(action)
            belief.observe(action, result.observation)
            reward = result.reward
            if result.done:
                break
        assert reward > 0.99, (variation, action, result.observation)


def test_sensible_players_win_in_the_lab_and_others_often_do_not(worlds: Sequence[Rooms]) -> None:
    won = {1.0: 0, 0.4: 0}
    for seed in range(200):
        for skill in won:
            lab = make_lab(Random(seed), worlds)
            list(play(Random(seed), lab, Player(lab.goal, skill), 12))
            won[skill] += lab.reward > 0.99
    assert won[1.0] >= 196
    assert 20 < won[0.4] < 160


def test_documents_are_determined_and_read_as_the_loop_reads_them(worlds: Sequence[Rooms]) -> None:
    teacher = Teacher(worlds)
    drawn = [teacher(1, LESSONS + index) for index in range(300)]
    assert drawn == [Teacher(worlds)(1, LESSONS + index) for index in range(300)]
    assert {document.kind for document in drawn} == set(SHARES)
    assert {teacher(1, index).kind for index in range(20)} == {"questions"}
    for document in drawn:
        reply = document.messages[-1]["content"]
        if document.kind == "critique":
            assert parse_critique(reply).text
        elif document.kind == "deliberation":
            action = (
                document.messages[0]["content"].partition("**Action** line must be **")[2].partition("**")[0]
            )
            assert parse_deliberation(reply, action).text


def test_candidates_hold_the_sensible_action_and_the_lab_agrees_with_the_verdicts(
    worlds: Sequence[Rooms],
) -> None:
    """A good action is never refused, and a wrong focus, which ends a task, is never good."""
    for seed in range(300):
        rng = Random(seed)
        situation = draw(rng, make_lab(rng, worlds))
        assert situation.chosen in [verdict.action for verdict in situation.verdicts]
        for verdict in situation.verdicts:
            world = situation.lab.fork()
            result = world.step(verdict.action)
            if verdict.grade == "good":
                assert result.valid, verdict
                assert not result.done or world.reward > 0.99, verdict


def test_the_history_decides_a_verdict() -> None:
    belief = Belief(Goal("longest"))
    assert judge(belief, "focus on parrot egg", False).fact == "I have not looked around here yet"
    assert judge(belief, "teleport to outside", False).grade == "good"
    belief.observe("teleport to outside", "You teleport to the outside.")
    seen = "called the outside. Here you see: \n\ta parrot egg\n\ta baby ant\n\ta baby wolf\nYou also see:"
    belief.observe("look around", seen)
    assert judge(belief, "focus on parrot egg", False).grade == "good"
    wrong = judge(belief, "focus on wolf", False)
    assert (wrong.grade, wrong.fact) == ("poor", "it is the parrot that lives longest, not the wolf")
    assert judge(belief, "look around", False).grade == "poor"


def test_rooms_are_recorded_once(tmp_path: Path) -> None:
    (tmp_path / "worlds.json").write_text('[{"outside": [["x"], ["y"]]}]')
    assert record(tmp_path / "worlds.json") == [{"outside": [["x"], ["y"]]}]
