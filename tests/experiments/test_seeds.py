"""`--seeds`: an experiment for each seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sand_dagster.evaluation.arms import arm_of
from sand_dagster.experiments.loading import ExperimentError, load_experiment
from sand_dagster.experiments.seeds import parse_seeds, with_seeds


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", [0, 1, 2, 3, 4]), ("3", [3]), ("0, 2,5", [0, 2, 5]), ("7-7,1", [7, 1])]
)
def test_seeds_are_ranges_and_numbers(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "4-0", "0-100", "1,1", "0-2,1", "0;1", "0-60,100-160"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="seed"):
        parse_seeds(text)


def test_each_seed_is_an_experiment_that_follows_its_file(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    mine = tmp_path / "experiments" / "mine.yaml"
    mine.write_text("description: mine\nextends: household\nseed: 1\n")
    names = with_seeds("mine", [0, 1, 2], tmp_path)

    assert names == ["mine-seed-0", "mine", "mine-seed-2"]
    assert [load_experiment(name, tmp_path).seed for name in names] == [0, 1, 2]
    assert len(arm_of(",".join(names), tmp_path).experiments) == 3

    mine.write_text("description: mine\nextends: household\nseed: 1\nsampling: {n: 2}\n")
    assert with_seeds("mine", [0, 1, 2], tmp_path) == names
    assert {load_experiment(name, tmp_path).sampling.n for name in names} == {2}


def test_a_control_is_measured_by_the_experiment_of_its_own_seed(tmp_path: Path) -> None:
    (name,) = with_seeds("household-more-sft", [3], tmp_path)
    control = load_experiment(name, tmp_path)
    assert (name, control.seed, control.control_for) == ("household-more-sft-seed-3", 3, "household-seed-3")
    assert load_experiment("household-seed-3", tmp_path).seed == 3


def test_a_file_that_is_something_else_is_not_taken_for_a_seed(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    file = tmp_path / "experiments" / "household-seed-1.yaml"
    file.write_text("description: mine\nextends: household\nseed: 1\nsampling: {n: 2}\n")
    with pytest.raises(ExperimentError, match=r"household-seed-1\.yaml is not household with seed 1.*Rename"):
        with_seeds("household", [0, 1], tmp_path)
    assert "n: 2" in file.read_text()


def test_seeds_of_an_unknown_experiment(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="there is no experiment 'none'"):
        with_seeds("none", [0], tmp_path)
