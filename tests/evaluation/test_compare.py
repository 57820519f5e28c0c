"""Comparisons of experiments, over small tables in a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.cli import app
from sand_dagster.evaluation.scores import score
from sand_dagster.rows.plain import plain
from tests.artifacts.rows import row
from tests.conftest import disk_full

TURN = {"thought": "", "action": "look", "observation": "", "valid": True}
INITIAL = [0, 0, 0, 1, 0, 1, 0, 1, 1]
BETTER = [0, 1, 1, 1, 1, 1, 0, 1, 1]
DELIBERATIONS = [4, 4, 4, 2, 4, 2, 4, 2, 0]
Sand = Callable[..., Result]


def episodes(rewards: Sequence[float], deliberations: Sequence[int] = (0,) * 9, first: int = 0) -> list[Any]:
    """Episodes of four steps; three tasks each of the types `heat`, `cool` and `look`, in turn."""
    return [
        row(
            "eval_episodes",
            f"v{number}",
            task_id=f"t{first + number}",
            checkpoint_id="c",
            split="unseen",
            kind=("heat", "cool", "look")[number % 3],
            steps=[TURN] * 4,
            reward=float(reward),
            deliberations=deliberations[number],
        )
        for number, reward in enumerate(rewards)
    ]


def evaluate(home: Path, experiment: str, iteration: str, rows: list[Any]) -> None:
    store = ArtifactStore(home, experiment)
    with store.writing(
        "eval_episodes", iteration, inputs={}, identity=Identity(), seed=0, run_id="run"
    ) as writer:
        writer.commit(rows, {})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAND_HOME", str(tmp_path))
    for experiment in ("household", "household-more-sft"):
        evaluate(tmp_path, experiment, "00", episodes(INITIAL))
    evaluate(tmp_path, "household", "01", episodes(BETTER, DELIBERATIONS))
    evaluate(tmp_path, "household-more-sft", "01", episodes([0, 0, 0, 1, 0, 1, 1, 1, 1]))
    return tmp_path


@pytest.fixture
def sand(home: Path) -> Sand:
    return lambda *arguments: CliRunner().invoke(app, ["compare", *arguments])


def compared(sand: Sand, *arguments: str) -> dict[str, list[dict[str, Any]]]:
    done = sand(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def test_another_experiment_can_tell_how_difficult_the_tasks_are(home: Path, sand: Sand) -> None:
    evaluate(home, "household-base", "00", episodes([1, 0, 0, 1, 0, 0, 1, 0, 0]))
    bands = compared(sand, "household", "--iteration", "01", "--difficulty-by", "household-base")["bands"]
    assert [(b["band"], b["tasks"]) for b in bands] == [("hard", 3), ("medium", 3), ("easy", 3)]
    assert bands[2]["average_reward"] == sum(BETTER[number] for number in (0, 3, 6)) / 3
    rates = sorted(DELIBERATIONS[n] / 4 for n in (0, 3, 6))
    assert bands[2]["deliberation_rates"] == rates
    assert bands[2]["deliberation_rate"] == pytest.approx(sum(rates) / 3)
    assert bands[2]["deliberation_median"] == rates[1]
    assert bands[2]["deliberation_quartiles"] == [(rates[0] + rates[1]) / 2, (rates[1] + rates[2]) / 2]


def test_scores_are_those_of_eval_scores(sand: Sand) -> None:
    found = compared(sand, "household", "household-more-sft")["scores"]
    assert [(s["experiment"], s["iteration"]) for s in found] == [
        ("household", "00"),
        ("household", "01"),
        ("household-more-sft", "00"),
        ("household-more-sft", "01"),
    ]
    expected = plain(score(episodes(BETTER, DELIBERATIONS), "c", "unseen", "paper", 0))
    assert found[1] == {name: expected.get(name, found[1][name]) for name in found[1]}
    assert found[1]["average_reward"] == pytest.approx(7 / 9)
    assert found[1]["deliberation_rate"] == pytest.approx(26 / 36)


def test_an_iteration_is_compared_with_00_and_the_first_experiment_with_the_other(sand: Sand) -> None:
    found = compared(sand, "household", "household-more-sft")["differences"]
    assert [
        (d["experiment"], d["iteration"], d["against_experiment"], d["against_iteration"]) for d in found
    ] == [
        ("household", "01", "household", "00"),
        ("household-more-sft", "01", "household-more-sft", "00"),
        ("household", "01", "household-more-sft", "01"),
    ]
    gained, trained_on, against = found
    # Three tasks gained and none lost: 2 of the 2^3 assignments of signs are as far from 0.
    assert (gained["pairs"], gained["difference"], gained["p"]) == (9, pytest.approx(3 / 9), 0.25)
    assert 0 <= gained["low"] < gained["difference"] < gained["high"]
    assert (trained_on["difference"], trained_on["p"]) == (pytest.approx(1 / 9), 1.0)
    # Three tasks won by SAND alone, one by the control alone: all but 6 of the 2^4 are as far.
    assert (against["difference"], against["p"]) == (pytest.approx(2 / 9), pytest.approx(10 / 16))


def test_tasks_are_paired_by_their_id_and_others_left_out(sand: Sand, home: Path) -> None:
    evaluate(home, "household-more-sft", "01", list(reversed(episodes(BETTER[2:], first=2))))
    against = compared(sand, "household", "household-more-sft", "--iteration", "1")["differences"][-1]
    assert (against["pairs"], against["difference"], against["p"]) == (7, 0.0, 1.0)


def test_bands_are_thirds_of_the_tasks_by_what_they_gave_in_iteration_00(sand: Sand) -> None:
    found = compared(sand, "household", "--iteration", "01")["bands"]
    # Lost in 00: t0, t6 (heat, which won 1 of 3), t1, t4 (cool, 1 of 3) and t2 (look, 2 of 3) with 4 of 4
    # steps deliberated; the heat and cool tasks won in 00 come before the look tasks.
    assert [(b["band"], b["tasks"], b["deliberation_rate"]) for b in found] == [
        ("hard", 3, 1.0),
        ("medium", 3, pytest.approx(5 / 6)),
        ("easy", 3, pytest.approx(1 / 3)),
    ]
    assert [b["average_reward"] for b in found] == [pytest.approx(2 / 3), pytest.approx(2 / 3), 1.0]


def _seeded(home: Path, name: str, extends: str, more: str = "") -> None:
    (home / "experiments").mkdir(exist_ok=True)
    (home / "experiments" / f"{name}.yaml").write_text(f"extends: {extends}\n{more}")


def test_experiments_that_differ_in_their_seed_are_taken_together(sand: Sand, home: Path) -> None:
    _seeded(home, "again", "household", "seed: 1")
    _seeded(home, "more-again", "household-more-sft", "seed: 1\ncontrol_for: again")
    for name, rewards in (("again", BETTER), ("more-again", INITIAL)):
        evaluate(home, name, "00", episodes(INITIAL))
        evaluate(home, name, "01", episodes(rewards))
    found = compared(sand, "household,again", "household-more-sft,more-again", "--iteration", "01")
    assert [s["tasks"] for s in found["scores"]] == [18, 18]
    assert [b["tasks"] for b in found["bands"]] == [6] * 6
    gained, _, against = found["differences"]
    assert (gained["pairs"], gained["p"]) == (18, pytest.approx(2 / 2**6))
    # With the first seed the control won a task that SAND lost; the second seed has its own pairs.
    assert against["difference"] == pytest.approx((2 + 3) / 18)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("household", "nobody"), "there is no experiment 'nobody'"),
        (("household", "--iteration", "02"), "`sand run household --until 02`"),
        (("household", "--iteration", "77"), "household has the iterations 00, 01"),
        (("household", "household-without-critique"), "`sand run household-without-critique --until 01`"),
        (
            ("household", "started"),
            "started has no evaluated iteration 01 yet; `sand run started --until 01`",
        ),
        (("household,started", "household-more-sft"), "names 2 experiments, household-more-sft 1"),
        (("household,household-more-sft",), "they differ in variant"),
        (("household,same",), "same has the same seed 0 as another one"),
        (("household", "elsewhere"), "no task in common"),
    ],
)
def test_what_cannot_be_compared_says_why_and_what_to_run(
    sand: Sand, home: Path, arguments: tuple[str, ...], message: str
) -> None:
    _seeded(home, "started", "household", "seed: 1")
    _seeded(home, "same", "household")
    _seeded(home, "elsewhere", "household", "environment: {seed: 9}")
    evaluate(home, "started", "00", episodes(INITIAL))
    for iteration in ("00", "01"):
        evaluate(home, "elsewhere", iteration, episodes(INITIAL, first=100))
    refused = sand(*arguments)
    assert (refused.exit_code > 0, refused.stdout) == (True, "")
    assert message in refused.stderr and "Traceback" not in refused.stderr


def test_people_read_points_and_intervals(sand: Sand) -> None:
    printed = sand("household", "household-more-sft").stdout
    assert "household 01" in printed and "household-more-sft 01" in printed
    assert "+33.3" in printed and "0.250" in printed
    assert "77.8%" in printed and "quartiles" in printed


def test_figure_4_has_a_panel_an_iteration_and_names_the_medians(sand: Sand, tmp_path: Path) -> None:
    done = sand("household", "--figure", str(tmp_path / "out" / "figure4.svg"))
    assert done.exit_code == 0, done.output
    drawn = (tmp_path / "out" / "figure4.svg").read_text()
    assert drawn.startswith("<?xml")
    refused = sand("household", "--figure", str(tmp_path / "figure4.txt"))
    assert refused.exit_code != 0
    assert ".svg, .png, .pdf" in refused.output


def test_a_figure_that_does_not_fit_on_the_disk_leaves_the_old_one(
    sand: Sand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = tmp_path / "figure4.svg"
    figure.write_text("the old one")
    monkeypatch.setattr("sand_dagster.files._sync", disk_full)
    refused = sand("household", "--figure", str(figure))
    assert refused.exit_code == 1 and "no space left on the disk" in refused.output
    assert [path.name for path in tmp_path.glob("figure4*")] == ["figure4.svg"]
    assert figure.read_text() == "the old one"
