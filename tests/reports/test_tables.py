"""The report's tables: figures that agree with what is stored, and files that other programs can read."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import stdev
from typing import Annotated, ClassVar

import pytest

from sand_dagster.artifacts.schemas import TABLES, table_of
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.evaluation.table4 import published_tokens
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.experiments.seeds import with_seeds
from sand_dagster.outcomes import Ended
from sand_dagster.reports import costs, failures, paired, scores, search, seeds
from sand_dagster.reports.failures import Failing, failings
from sand_dagster.reports.subjects import subjects
from sand_dagster.reports.table import Column, Table, Unit
from sand_dagster.rows.evaluation import EpisodeRow
from sand_dagster.rows.row import Row
from tests.artifacts.experiment import write
from tests.assets.pipeline import NAME, Pipeline, finished
from tests.reports.episodes import episode, subject, turn


def _csv(page: Path, name: str) -> list[dict[str, str]]:
    with (page.parent / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_table_2_is_what_the_experiment_scored(page: Path, pipeline: Pipeline) -> None:
    rows = _csv(page, "table-2")
    stored = [
        (iteration, row)
        for iteration in ("00", "01")
        for row in pipeline.store.read("eval_scores", iteration).iter_rows(named=True)
    ]
    assert [(row["iteration"], row["split"]) for row in rows] == [(k, row["split"]) for k, row in stored]
    for ours, (_, row) in zip(rows, stored, strict=True):
        assert float(ours["average reward"]) == row["average_reward"]
        assert float(ours["95 % interval low"]) == row["reward_low"]
        assert float(ours["95 % interval high"]) == row["reward_high"]
        assert float(ours["deliberates"]) == row["deliberation_rate"]
    assert {row["method"] for row in rows} == {"SFT", "SAND 1"}
    assert "the paper's" not in rows[0]  # it is not an experiment of the paper


def test_every_table_is_a_file_and_in_the_page_and_in_the_summary(page: Path) -> None:
    names = {path.stem for path in (page.parent / "tables").glob("*.csv")}
    assert names == {path.stem for path in (page.parent / "tables").glob("*.md")}
    assert {"table-2", "table-4", "figure-3", "figure-4", "paired-tests", "failures", "costs"} <= names
    html, summary = page.read_text(), (page.parent / "report.md").read_text()
    for name in names:
        assert f'<section id="{name}"' in html
        assert (page.parent / "tables" / f"{name}.md").read_text() in summary
    for path in (page.parent / "figures").glob("*.svg"):
        assert f'<section id="{path.stem}"' in html
        assert "<title>" in path.read_text() and "aria-label" in path.read_text()


def test_tokens_and_rates_by_step_have_their_intervals(tmp_path: Path) -> None:
    episodes = [
        replace(episode(n, *[turn("look")] * 2, reward=n % 2), completion_tokens=100 * n, deliberations=n % 3)
        for n in range(30)
    ]
    about = [subject(tmp_path, k00=episodes)]
    for table, values in (
        (scores.table4(about, tmp_path), {"tokens a task": 1450, "average reward": 0.5}),
        (scores.figure3(about), {"reward a step": 0.25, "deliberation a step": 0.5}),
    ):
        (row,) = table.rows
        found = dict(zip([column.name for column in table.columns], row, strict=True))
        for (name, value), interval in zip(
            values.items(), ("95 % interval", "its 95 % interval"), strict=True
        ):
            low, high = found[interval]  # type: ignore[misc]
            assert found[name] == value and low < value < high, (name, low, high)
        assert " to " in table.markdown()


def test_the_base_models_rewards_define_difficulty_if_the_report_has_them(tmp_path: Path) -> None:
    def played(won: range, iteration: str) -> list[EpisodeRow]:
        return [episode(n, turn("look"), reward=float(n in won), iteration=iteration) for n in range(9)]

    of = {"household": {"00": range(3), "01": range(9)}, "household-base": {"00": range(6, 9)}}
    for name, iterations in of.items():
        for iteration, won in iterations.items():
            write(ArtifactStore(tmp_path, name), "eval_episodes", iteration, played(won, iteration))

    def easy(*names: str) -> tuple[str, float]:
        found = paired.compared(subjects(names, tmp_path), tmp_path)
        (row,) = (
            dict(zip([column.name for column in paired.figure4(found).columns], row, strict=True))
            for row in paired.figure4(found).rows
            if row[:2] == ["household", "00"] and "easy" in row
        )
        return row["difficulty by"], row["average reward"]  # type: ignore[return-value]

    assert easy("household") == ("household 00", 1.0)
    assert easy("household", "household-base") == ("household-base 00", 0.0)


def test_costs_are_those_of_the_tables(page: Path, pipeline: Pipeline) -> None:
    rows = {(row["iteration"], row["stage"]): row for row in _csv(page, "costs")}
    rollouts = pipeline.store.read("rollouts", "01")
    assert int(rows["01", "rollouts"]["tokens written"]) == rollouts["completion_tokens"].sum() > 0
    candidates = pipeline.store.read("candidate_actions", "01")
    of_steps = candidates.unique("step_id")["prompt_tokens"].sum()  # each of a step's rows has the same
    assert int(rows["01", "candidate_actions"]["tokens read"]) == of_steps
    assert rows["01", "policy"]["tokens read"] == ""
    assert float(rows["01", "eval_scores"]["seconds"]) > 0


def test_gpu_seconds_are_those_of_all_gpus_of_the_machine(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "GPU seconds" not in _csv(page, "costs")[0], "there is no GPU"
    monkeypatch.setattr("sand_dagster.assets.asset.cards", lambda: (None, None))
    with finished(tmp_path) as own:
        table = costs.table(subjects([NAME], own.home))
    rows = [dict(zip([column.name for column in table.columns], row, strict=True)) for row in table.rows]
    (rollouts,) = (row for row in rows if (row["iteration"], row["stage"]) == ("01", "rollouts"))
    assert rollouts["GPU seconds"] == 2 * rollouts["seconds"]
    assert all(row["GPU seconds"] is None for row in rows if row["stage"] == "policy")


def test_seconds_are_left_out_where_a_stage_was_run_alone(pipeline: Pipeline, tmp_path: Path) -> None:
    (about,) = subjects([NAME], pipeline.home)
    first = next(row for row in costs.table([about]).rows if row[2] == "expert_trajectories")
    assert first[-1] is None


def test_a_variant_is_compared_with_full_sand_over_the_same_tasks(tmp_path: Path) -> None:
    won, lost = ([episode(n, turn("look"), reward=r) for n in range(10)] for r in (1.0, 0.0))
    full = subject(tmp_path, k00=lost, k01=won)
    control = subject(tmp_path, "household-more-sft", k00=lost, k01=[*lost[:8], *won[8:]])
    table = scores.table3([full, control], tmp_path)
    assert table is not None
    (row,) = [dict(zip([column.name for column in table.columns], row, strict=True)) for row in table.rows]
    assert (row["experiment"], row["method"], row["against"]) == (
        "household-more-sft",
        "more SFT 1",
        "household 01",
    )
    assert row["difference"] == -0.8 and row["pairs"] == 10
    assert row["p"] == 2 / 2**8
    assert scores.table3([full], tmp_path) is None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchScore(Row):
    """As the table of test-time search, without the columns that the report does not read."""

    table: ClassVar = "search_scores"

    search_score_id: Annotated[str, "id"]
    mode: Annotated[str, "how it searched"]
    samples: Annotated[int, "how many samples"]
    split: Annotated[str, "split"]
    average_reward: Annotated[float, "reward"]
    reward_low: Annotated[float, "lower end"]
    reward_high: Annotated[float, "upper end"]
    tokens_per_task: Annotated[float, "tokens"]


def test_search_stands_beside_one_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = subject(tmp_path, k00=[episode(n, turn("look")) for n in range(4)])
    assert search.table5([about]) is None
    monkeypatch.setitem(TABLES, "search_scores", table_of(SearchScore))
    searched = SearchScore(
        search_score_id="s",
        mode="oracle_best_of_n",
        samples=5,
        split="seen",
        average_reward=0.75,
        reward_low=0.5,
        reward_high=1.0,
        tokens_per_task=50.0,
    )
    write(about.store, "search_scores", "00", [searched])
    table = search.table5([about])
    assert table is not None
    assert [row[4:] for row in table.rows] == [
        ["none", 1, 0.0, (0.0, 0.0), 10.0, 1.0],
        ["oracle_best_of_n", 5, 0.75, (0.5, 1.0), 50.0, 5.0],
    ]


def test_what_can_be_seen_in_a_lost_episode() -> None:
    takes = turn("take lettuce 1 from fridge 1")
    assert failings(episode(1, takes)) == {Failing.STEP_LIMIT}
    assert failings(episode(1, takes, reward=1.0)) == set()
    wrong = turn("take egg 1 from fridge 1")
    assert Failing.WRONG_OBJECT in failings(episode(1, wrong))
    refused = turn("take egg 1 from fridge 1", valid=False)
    assert failings(episode(1, refused)) == {Failing.STEP_LIMIT, Failing.REFUSED}
    assert Failing.REPEATED in failings(episode(1, *[takes] * failures.REPEATS))
    assert Failing.REPEATED not in failings(episode(1, *[takes] * (failures.REPEATS - 1)))
    assert Failing.UNPARSED in failings(episode(1, turn("")))
    assert failings(episode(1, takes, reward=0.5, ended=Ended.DONE)) == {Failing.ENDED}
    assert Failing.PROMPT_TOO_LONG in failings(episode(1, takes, ended=Ended.PROMPT_TOO_LONG))


def test_where_the_object_is_not_known_nothing_is_said_of_it(tmp_path: Path) -> None:
    other = replace(episode(1, turn("take egg 1 from fridge 1")), task_id="find-a-plant-3")
    table = failures.table([subject(tmp_path, k00=[other])])
    assert dict(zip([c.name for c in table.columns], table.rows[0], strict=True))["wrong object"] is None


TABLE_4 = {"seen": 140, "unseen": 134}


@pytest.mark.parametrize(
    ("experiment", "iteration", "tasks", "tokens"),
    [
        ("alfworld-llama31-8b", "00", TABLE_4, 498.3),
        ("alfworld-llama31-8b", "02", TABLE_4, 1105.8),
        ("scienceworld-llama31-8b", "01", {"seen": 194, "unseen": 211}, 2411.9),
        ("alfworld-llama31-8b", "00", {"seen": 140, "unseen": 20}, None),
        ("alfworld-llama31-8b", "00", {"seen": 140}, None),
        ("alfworld-llama31-8b-base", "00", TABLE_4, None),
        ("alfworld-qwen25-7b", "00", TABLE_4, None),
        ("household", "00", {"seen": 100, "unseen": 100}, None),
    ],
)
def test_the_papers_tokens_are_given_for_its_own_experiments(
    tmp_path: Path, experiment: str, iteration: str, tasks: dict[str, int], tokens: float | None
) -> None:
    assert published_tokens(load_experiment(experiment, tmp_path), iteration, tasks, tmp_path) == tokens


def test_cells_are_rounded_for_people_and_not_for_programs() -> None:
    table = Table(
        "t",
        "Title",
        "Note.",
        (
            Column("name"),
            Column("share", Unit.PERCENT),
            Column("interval", Unit.POINTS_INTERVAL),
            Column("p", Unit.P_VALUE),
        ),
        [['=1+1 | "a" <b>', 1 / 3, (-0.125, 0.25), 0.0001], ["none", None, None, None]],
    )
    assert table.csv().splitlines() == [
        "name,share,interval low,interval high,p",
        '"\'=1+1 | ""a"" <b>",0.3333333333333333,-0.125,0.25,0.0001',
        "none,,,,",
    ]
    assert '| =1+1 \\| "a" &lt;b> | 33.3% | −12.5 to +25.0 | &lt; 0.001 |' in table.markdown()
    assert (
        '<tr><th scope="row">=1+1 | &quot;a&quot; &lt;b&gt;</th><td class="figure">33.3%</td>' in table.html()
    )
    assert '<th scope="col">name</th>' in table.html()


def test_seeds_are_taken_together_and_their_spread_is_told(tmp_path: Path) -> None:
    names = with_seeds("household", [0, 1], tmp_path)
    for name, lost in zip(names, (2, 6), strict=True):
        store = ArtifactStore(tmp_path, name)
        for iteration, losses in (("00", 8), ("01", lost)):
            episodes = [
                episode(n, turn("look"), reward=float(n >= losses), iteration=iteration) for n in range(10)
            ]
            write(store, "eval_episodes", iteration, episodes)
    about = subjects([*names, "household-more-sft"], tmp_path)
    found = paired.compared(about, tmp_path)
    table = seeds.table(found.arms, found.over_seeds)
    assert table is not None
    assert [(row[1], row[4], row[5], *row[7:]) for row in table.rows] == [
        ("00", 20, pytest.approx(0.2), pytest.approx(0.2), 0.0, (0.2, 0.2)),
        ("01", 20, pytest.approx(0.6), pytest.approx(0.6), pytest.approx(stdev([0.8, 0.4])), (0.4, 0.8)),
    ]
    together = [row for row in paired.paired_tests(found).rows if row[0] == "household (seeds 0, 1) 01"]
    assert [(row[1], row[3], row[4]) for row in together] == [
        ("household (seeds 0, 1) 00", 20, pytest.approx(0.4))
    ]
    assert seeds.table([], []) is None
    assert not seeds.arms(about[:1])
