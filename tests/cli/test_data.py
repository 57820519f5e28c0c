"""`sand show`, `sql`, `status`: stored data for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sand_dagster.artifacts.store import ArtifactStore
from tests.artifacts.experiment import write
from tests.artifacts.rows import row
from tests.cli.conftest import Sand


def test_a_deliberation_is_shown_as_the_model_will_see_it_with_its_ballot(sand: Sand) -> None:
    shown = sand("show", "household", "deliberation_trajectories", "01", "--where", "a2")
    assert shown.exit_code == 0
    assert (
        "  Thought: I could:\n  - take mug 1: It is there.\n  - go to [stove 1]: It is not there.\n"
        "  Action: take mug 1\n  Observation: Taken.\n" in shown.stdout
    )
    assert "3 votes  take mug 1  (expert)  rollout: reward 0.00, done" in shown.stdout
    assert "2 votes  go to [stove 1]  rollout: reward 1.00, done" in shown.stdout
    assert "s11" not in shown.stdout


def test_rollouts_and_episodes_are_transcripts(sand: Sand) -> None:
    rollout = sand("show", "household", "rollouts", "1", "--where", "r2").stdout
    assert "2 votes  go to [stove 1]" in rollout and "reward 1.00, done, 1 steps" in rollout
    assert "  [1] Action: look\n  Observation: You see nothing.\n" in rollout
    episode = sand("show", "household", "eval_episodes", "--limit", "1").stdout
    assert "eval_episodes v010" in episode and "1 of 5 rows" in episode
    assert "  [1] Thought: Hm.\n  Action: look\n  Observation: You see [nothing].\n" in episode


def test_critiques_name_the_action_and_how_its_rollout_ended(sand: Sand) -> None:
    shown = sand("show", "household", "critiques", "01").stdout
    assert "take mug 1  (expert)  rollout: reward 0.00, done\noutcome: ok\n  It is not there." in shown


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("tasks", "split        train"),
        ("expert_import", "refused_action, left out; row 3 of the file, alfworld_7"),
        ("expert_import", "differs first at step 0 'go to moon 1'"),
        ("expert_data", "Thought: I want a mug.\n  Action: take mug 1"),
        ("base_model", "file      model.safetensors"),
        ("policy", "checkpoint_id  c00"),
        ("expert_trajectories", "expert_trajectories d11, e step 1"),
        ("candidate_actions", "3 votes, the expert's; the step deliberates"),
        ("checkpoints", "step_ids        s10, s11"),
        ("eval_scores", "average_reward         1.25"),
    ],
)
def test_every_table_can_be_read(sand: Sand, table: str, text: str) -> None:
    shown = sand("show", "household", table)
    assert (shown.exit_code, text in shown.stdout) == (0, True), shown.output


def test_show_as_json_gives_the_rows(sand: Sand) -> None:
    rows = json.loads(sand("show", "household", "rollouts", "01", "--json", "--limit", "1").stdout)
    assert [row["rollout_id"] for row in rows] == ["r1"]
    assert rows[0]["steps"][0]["observation"] == "You see nothing."


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("household", "nothing"), 2, "no asset 'nothing'; there are: tasks, "),
        (("household", "rollouts", "02"), 1, "household: rollouts for iteration 02 is not there"),
        (("household", "rollouts", "x"), 2, "an iteration is a number such as 01"),
        (("household", "rollouts", "01", "--where", "zz"), 1, "has or names the id 'zz'"),
        (("nobody", "rollouts"), 2, "no experiment 'nobody'"),
        (("../etc", "rollouts"), 2, "'../etc'"),
    ],
)
def test_what_cannot_be_shown_is_one_message(
    sand: Sand, arguments: tuple[str, ...], code: int, message: str
) -> None:
    shown = sand("show", *arguments)
    assert (shown.exit_code, message in shown.stderr, shown.stdout) == (code, True, ""), shown.output
    assert "Traceback" not in shown.stderr


def test_sql_answers_as_a_table_and_as_json(sand: Sand) -> None:
    query = "SELECT iteration, average_reward FROM eval_scores ORDER BY iteration"
    assert json.loads(sand("sql", "household", query, "--json").stdout) == [
        {"iteration": "00", "average_reward": 0.25},
        {"iteration": "01", "average_reward": 1.25},
    ]
    table = sand("sql", "household", query).stdout
    assert "2 rows" in table and "average_reward" in table and "1.25" in table
    many = sand("sql", "household", "SELECT unnest(range(101)) AS n").stdout
    assert "the first 100 of 101 rows" in many


@pytest.mark.parametrize("query", ["DROP VIEW tasks", "SELECT * FROM read_text('/etc/passwd')", "SELEC"])
def test_sql_refuses_all_but_a_select_over_the_tables(sand: Sand, query: str) -> None:
    refused = sand("sql", "household", query)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("sand: ")


def test_status_tells_complete_from_incomplete_and_damaged(sand: Sand, home: Path) -> None:
    (home / "household/rollouts/iteration=01/manifest.json").unlink()
    data = home / "household/critiques/iteration=01/data.parquet"
    data.write_bytes(data.read_bytes()[:-1])
    listed = json.loads(sand("status", "household", "--json").stdout)
    states = {(row["table"], row["iteration"]): row["state"] for row in listed}
    assert states.pop(("rollouts", "01")) == "incomplete"
    assert states.pop(("critiques", "01")) == "damaged"
    # Tables that were written by hand are not made by a stage's code.
    assert set(states.values()) == {"stale"} and len(states) == 16
    assert any("code: " in reason for reason in listed[0]["stale"])
    assert listed[0]["table"] == "tasks" and listed[0]["rows"] == 2
    text = sand("status", "household").stdout
    assert "incomplete" in text and "damaged" in text and listed[0]["content_hash"][:12] in text


def test_status_says_when_there_is_no_experiment_to_compare_with(sand: Sand, home: Path) -> None:
    (home / "household").rename(home / "another")
    told = sand("status", "another", "--json")
    assert "sand: the tables were not compared with the experiment's file: " in told.stderr
    assert told.exit_code == 0 and json.loads(told.stdout)
    (home / "experiments").mkdir()
    (home / "experiments" / "another.yaml").write_text("extends: household\niterations: 1\n")
    (home / "another" / "rollouts" / "iteration=02").mkdir()
    assert "which has no iteration 02 now" in sand("status", "another").stderr


def test_sql_shows_lists_as_their_first_items_and_their_number(sand: Sand) -> None:
    shown = sand("sql", "household", "SELECT episode_ids, [] AS nothing FROM eval_scores LIMIT 1").stdout
    assert "5: v000; v001; v002; v003; …" in shown and "none" in shown


def test_a_query_that_takes_too_long_is_one_message(sand: Sand) -> None:
    slow = sand("sql", "household", "SELECT count(*) FROM range(100000000000)", "--seconds", "0.2")
    assert (slow.exit_code, slow.stdout) == (2, "")
    assert "longer than 0.2 s" in slow.stderr


def test_ids_may_be_cut_short_where_no_other_begins_so(sand: Sand, home: Path) -> None:
    store = ArtifactStore(home, "household")
    write(store, "tasks", None, [row("tasks", f"household/{n}/task") for n in (1, 2)])
    assert "household/1/task" in sand("show", "household", "tasks", "--where", "household/1").stdout
    several = sand("show", "household", "tasks", "--where", "household")
    assert several.exit_code == 2 and "2 or more ids begin with 'household'" in several.stderr


def test_questions_are_listed_and_asked(sand: Sand, home: Path) -> None:
    assert "votes_against_rewards" in sand("ask").stdout
    (home / "questions").mkdir()
    (home / "questions" / "mine.sql").write_text(
        "-- Mine\n-- Votes of candidates.\n-- $least = 3: the fewest\n"
        "SELECT action, votes FROM candidate_actions WHERE votes >= $least"
    )
    assert "mine (yours)" in sand("ask").stdout
    assert json.loads(sand("ask", "household", "mine", "--json").stdout) == [
        {"action": "take mug 1", "votes": 3}
    ]
    assert len(json.loads(sand("ask", "household", "mine", "--set", "least=2", "--json").stdout)) == 2
    assert "$least" in sand("ask", "household", "mine", "--sql").stdout
    unknown = sand("ask", "household", "nothing")
    assert unknown.exit_code == 2 and "no question 'nothing'; there are: " in unknown.stderr


def test_a_table_made_again_can_be_compared_and_cleaned(sand: Sand, home: Path) -> None:
    store = ArtifactStore(home, "household")
    write(store, "tasks", None, [row("tasks", "t0", kind="cool", split="train")])
    kept = store.folder("tasks", None) / "history"
    assert len(list(kept.glob("*.parquet"))) == 1
    shown = sand("clean", "household").stdout
    assert "tasks/history/" in shown and "--yes removes it" in shown
    assert len(list(kept.glob("*.parquet"))) == 1
    assert sand("clean", "household", "--yes").exit_code == 0
    assert list(kept.glob("*")) == [] and store.read("tasks", None).height == 1
    assert "nothing to remove" in sand("clean", "household").stdout
    changed = sand("diff", "household", "deliberation_trajectories", "01", "01").stdout
    assert "2 the same, 0 changed" in changed
    texts = sand("diff", "household", "expert_trajectories", "00", "01").stdout
    assert "expert_trajectories 00 → 01" in texts
    wrong = sand("diff", "household", "tasks", "00", "01")
    assert wrong.exit_code == 2 and "needs a table with iterations" in wrong.stderr


def test_lineage_needs_no_experiment(sand: Sand) -> None:
    up = sand("lineage", "trace", "s10").stdout
    assert up.startswith("experiment household\n") and "critiques[01] q1" in up
    down = sand("lineage", "trace", "a1", "--down").stdout
    assert "descendants: " in down and "eval_scores" in down
    used = json.loads(sand("lineage", "scores", "d10", "--json").stdout)
    assert [(each["id"], each["average_reward"]) for each in used] == [("x01", 1.25)]
    assert "checkpoint c01 of iteration 01" in sand("lineage", "why", "v010").stdout
    wrong = sand("lineage", "why", "s10")
    assert wrong.exit_code == 2 and "`why` needs a row of eval_episodes" in wrong.stderr
