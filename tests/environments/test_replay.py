import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest

from sand_dagster.environments import alfworld, environment_kind
from sand_dagster.environments.play import find_task, play
from sand_dagster.environments.replay import Difference, read_file, replay, replay_all
from sand_dagster.environments.scienceworld import DOMAIN, Options
from sand_dagster.sand.types import Step, StepResult, Task, Trajectory

SHARED = Path(os.environ.get("SAND_SHARED", Path(__file__).parents[3] / "shared"))
SAMPLE = SHARED / "data" / "alfworld" / "eto_sft_sample.json"
GAMES = Path(os.environ.get("ALFWORLD_DATA", Path.home() / ".cache" / "sand" / "alfworld")) / "json_2.1.1"
TASK = Task("count", "counter", "train", "count", 3, {})


class Counter:
    """Counts its actions; three of them win."""

    def reset(self, task: Task) -> str:
        self.count = 0
        return "Count to three."

    def step(self, action: str) -> StepResult:
        self.count += action == "up"
        return StepResult(str(self.count), min(1.0, self.count / 3), self.count >= 3, action == "up")

    def fork(self) -> Self:
        raise AssertionError("a replay needs no fork")

    def close(self) -> None:
        self.closed = True


def counted(*observations: str, instruction: str = "Count to three.") -> Trajectory:
    return Trajectory("t", TASK, instruction, [Step("", "up", o) for o in observations], 1.0)


def test_a_match_and_a_win() -> None:
    found = replay(Counter(), counted("1", "2", ""), "No.")
    assert (found.difference, found.won, found.steps) == (None, True, 3)


def test_the_first_difference_is_reported_and_the_rest_is_played() -> None:
    found = replay(Counter(), counted("1", "two", "drei"), "No.")
    assert found.difference == Difference(1, "up", "two", "2")
    assert found.won
    assert replay(Counter(), counted("1"), "No.").won is False
    assert replay(Counter(), counted("1", instruction="Count."), "No.").difference == Difference(
        None, "", "Count.", "Count to three."
    )


def test_a_turn_without_an_action_is_not_played() -> None:
    steps = [Step("hm", "", "No."), Step("", "up", "1")]
    assert replay(Counter(), Trajectory("t", TASK, "Count to three.", steps, 0.0), "No.").difference is None


@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"no {SAMPLE}: set SAND_SHARED")
@pytest.mark.skipif(not GAMES.is_dir(), reason=f"no published games in {GAMES}")
def test_the_published_sample_matches_and_wins(tmp_path: Path) -> None:
    kind = environment_kind("alfworld")
    # Leaving out what the compiler refuses would compile every game before the three are opened.
    options = alfworld.Options(games=GAMES, step_limit=40, unsupported="stock")
    recorded = read_file(SAMPLE, kind, options, tmp_path)
    assert recorded.without_task == 0
    found = list(replay_all(kind, options, tmp_path, recorded.trajectories))
    assert [each.difference for each in found] == [None, None, None]
    assert all(each.won for each in found)


def test_a_person_plays() -> None:
    keys: Iterator[str] = iter(["help", "", "down", "up", "up"])
    said: list[str] = []
    environment = Counter()
    assert play(environment, DOMAIN, TASK, lambda _: next(keys), said.append) == pytest.approx(2 / 3)
    text = "\n".join(said)
    assert text.startswith("Count to three.")
    assert "teleport to LOC" in text
    assert "[reward 0.00, invalid]" in text
    assert said[-1] == "The step limit of 3 turns is reached. Reward: 0.67"
    assert environment.closed


def test_the_end_of_the_input_ends_the_game() -> None:
    keys: Iterator[str] = iter(["up"])

    def read(_: str) -> str:
        try:
            return next(keys)
        except StopIteration:
            raise EOFError from None

    said: list[str] = []
    assert play(Counter(), DOMAIN, TASK, read, said.append) == pytest.approx(1 / 3)
    assert said[-1] == "Ended after 1 turns. Reward: 0.33"


def test_tasks_are_found_by_part_of_their_id(tmp_path: Path) -> None:
    kind = environment_kind("scienceworld")
    tasks = kind.tasks(Options(), tmp_path, lambda done, total: None)
    assert find_task(tasks, "scienceworld/boil/1").id == "scienceworld/boil/1"
    assert find_task(tasks, "").id == tasks[0].id
    with pytest.raises(ValueError, match=r"tasks' ids contain 'boil'; say more"):
        find_task(tasks, "boil")
    with pytest.raises(ValueError, match="no task's id contains 'cook'"):
        find_task(tasks, "cook")


def test_closing_is_left_to_the_one_who_made_it() -> None:
    with closing(Counter()) as environment:
        replay(environment, counted("1"), "No.")
        assert not hasattr(environment, "closed")
