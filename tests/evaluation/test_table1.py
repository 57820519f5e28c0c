from sand_dagster.assets.tasks import beside_the_papers
from sand_dagster.environments import kinds
from sand_dagster.evaluation.played_with import played_with
from sand_dagster.evaluation.table1 import TASKS
from sand_dagster.types import Task


def test_the_papers_counts_stand_beside_ours_and_a_difference_is_one_sentence() -> None:
    found = beside_the_papers("alfworld", {"train": 3553, "seen": 140, "unseen": 134})
    assert [found[f"paper_{split}"].value for split in ("train", "seen", "unseen")] == [3321, 140, 134]
    said = found["paper_difference"].value
    assert said.startswith("Not the tasks of Table 1: train 3553 instead of 3321 (3321 is a constant")
    assert "3119 trajectories" in said and "seen" not in said


def test_a_split_that_is_not_there_differs_too() -> None:
    said = beside_the_papers("scienceworld", {"train": 1483, "seen": 6})["paper_difference"].value
    assert said == "Not the tasks of Table 1: seen 6 instead of 194, unseen 0 instead of 211."


def test_there_is_no_sentence_if_nothing_differs_or_the_paper_has_no_such_tasks() -> None:
    assert "paper_difference" not in beside_the_papers("scienceworld", TASKS["scienceworld"])
    assert beside_the_papers("household", {"train": 24}) == {}
    assert set(TASKS) < set(kinds())


def test_what_tasks_are_played_with_is_said_as_their_specs_have_it() -> None:
    def task(number: int, **spec: str) -> Task:
        return Task(f"t{number}", "scienceworld", "train", "boil", 10, spec)

    easy = {"simplifications": "openDoors,openContainers", "version": "1.2.3"}
    tasks = [task(1, **easy), task(2, **easy), task(3, simplifications="openDoors", version="1.2.3")]
    assert played_with(tasks) == (
        "scienceworld 1.2.3: openDoors, openContainers (2 tasks); scienceworld 1.2.3: openDoors (1 tasks)"
    )
    assert played_with([task(1)]) == ""
