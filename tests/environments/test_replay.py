from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from sand_dagster.environments import environment_kind
from sand_dagster.environments.keyboard import find_task, play
from sand_dagster.environments.replay import as_recordings, replay_all
from sand_dagster.environments.scienceworld import DOMAIN, Options
from sand_dagster.rows.experts import ImportRow
from sand_dagster.types import Step, StepResult, Task, Trajectory

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


def replayed(*trajectories: Trajectory) -> list[ImportRow]:
    return list(replay_all(Counter, as_recordings(trajectories), "No.", "all"))


def first(trajectory: Trajectory) -> ImportRow:
    (row,) = replayed(trajectory)
    return row


def test_a_match_and_a_win() -> None:
    row = first(counted("1", "2", ""))
    assert (row.verdict, row.differs_at, row.reward, row.kept) == ("kept", None, 1.0, True)
    assert [step.observation for step in row.steps] == ["1", "2", "3"]


def test_the_first_difference_is_reported_and_the_rest_is_played() -> None:
    row = first(counted("1", "two", "drei"))
    assert (row.differs_at, row.action, row.expected, row.found) == (1, "up", "two", "2")
    assert row.verdict == "kept_reworded"
    assert first(counted("1")).verdict == "does_not_win"
    row = first(counted("1", instruction="Count."))
    assert (row.differs_at, row.expected, row.found) == (-1, "Count.", "Count to three.")


def test_what_comes_after_the_end_is_cut() -> None:
    row = first(counted("1", "2", "3", "4", "5"))
    assert (row.verdict, len(row.steps), row.recorded_steps) == ("kept", 3, 5)


def test_a_turn_without_an_action_is_not_played() -> None:
    steps = [Step("hm", "", "No."), Step("", "up", "1")]
    row = first(Trajectory("t", TASK, "Count to three.", steps, 0.0))
    assert (row.differs_at, row.refused_at) == (None, 0)


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
    with pytest.raises(ValueError, match=r"tasks contain 'boil'; give more"):
        find_task(tasks, "boil")
    with pytest.raises(ValueError, match="no task's id contains 'cook'"):
        find_task(tasks, "cook")


class Falling(Counter):
    """Raises at the action `fall`; counts how often it was made."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def step(self, action: str) -> StepResult:
        if action == "fall":
            raise RuntimeError("it fell")
        return super().step(action)


def test_after_an_error_the_next_one_gets_a_fresh_environment() -> None:
    falls = Trajectory("f", TASK, "Count to three.", [Step("", "fall", "")], 1.0)
    wins = counted("1", "2", "3")
    rows = list(replay_all(Falling, as_recordings([wins, falls, wins, wins]), "No."))
    assert [row.verdict for row in rows] == ["kept", "environment_error", "duplicate", "duplicate"]
    assert rows[1].problem == "RuntimeError: it fell"
    assert Falling.made == 2
