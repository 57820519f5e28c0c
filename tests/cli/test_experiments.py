"""`sand experiments`, `scores`, `lineage`, and the program itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.reports.state import experiments
from sand_dagster.reports.subjects import Subject
from tests.artifacts.experiment import write
from tests.artifacts.rows import row
from tests.cli.conftest import Sand


def test_scores_are_of_every_evaluated_iteration(sand: Sand) -> None:
    listed = json.loads(sand("scores", "household", "--json").stdout)
    assert [(row["iteration"], row["split"], row["average_reward"]) for row in listed] == [
        ("00", "seen", 0.25),
        ("01", "seen", 1.25),
    ]
    assert {"tasks", "success_rate", "deliberation_rate", "tokens_per_task", "protocol"} <= listed[0].keys()
    assert (listed[0]["reward_per_step"], listed[0]["deliberation_per_step"]) == (0.125, 0.375)
    table = sand("scores", "household").stdout
    assert "25.0%" in table and "protocol: paper" in table
    assert "reward/step" in table and "0.125" in table
    assert "deliberations/step" in table and "0.375" in table


def test_scores_say_what_scienceworlds_tasks_are_played_with(sand: Sand, home: Path) -> None:
    assert json.loads(sand("scores", "household", "--json").stdout)[0]["played_with"] is None
    assert "played with" not in sand("scores", "household").stdout
    spec = json.dumps({"task": "boil", "simplifications": "openDoors,openContainers", "version": "1.2.3"})
    made = row("tasks", "t0", environment="scienceworld", kind="boil", split="train", spec=spec)
    write(ArtifactStore(home, "household"), "tasks", None, [made])
    said = "scienceworld 1.2.3: openDoors, openContainers (1 tasks)"
    assert f"played with {said}" in sand("scores", "household").stdout
    assert json.loads(sand("scores", "household", "--json").stdout)[0]["played_with"] == said
    shown = experiments([Subject(load_experiment("household", home), ArtifactStore(home, "household"), {})])
    assert (
        dict(zip([column.name for column in shown.columns], shown.rows[0], strict=True))["played with"]
        == said
    )


def test_an_experiment_without_scores_says_how_to_get_them(sand: Sand, home: Path) -> None:
    for manifest in home.glob("household/eval_scores/*/manifest.json"):
        manifest.unlink()
    missing = sand("scores", "household")
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "sand run household --until 01" in missing.stderr


def test_a_damaged_file_is_named_and_what_to_do(sand: Sand, home: Path) -> None:
    data = home / "household/eval_scores/iteration=00/data.parquet"
    data.write_bytes(b"PAR1")
    torn = sand("scores", "household")
    assert torn.exit_code == 1
    assert str(data) in torn.stderr and "Materialise its asset again" in torn.stderr


def test_lineage_goes_down_to_the_tasks_and_up_to_the_scores(sand: Sand) -> None:
    text = sand("lineage", "household", "q1").stdout
    assert text.startswith("critiques[01] q1")
    assert "rollout_id: rollouts[01] r1" in text and "expert_data e0" in text
    tree = json.loads(sand("lineage", "household", "q1", "--json").stdout)
    assert tree["branches"][0]["rows"][0]["id"] == "r1"
    up = sand("lineage", "household", "q1", "--descendants").stdout
    assert "eval_scores[01] x01" in up
    unknown = sand("lineage", "household", "zz")
    assert (unknown.exit_code, unknown.stdout) == (2, "") and "'zz'" in unknown.stderr


def test_every_experiment_that_ships_is_listed(sand: Sand) -> None:
    listed = {row["experiment"]: row for row in json.loads(sand("experiments", "--json").stdout)}
    assert listed["household"]["environment"] == "household"
    assert listed["household"]["scored"] == ["00", "01"]
    assert "alfworld-llama31-8b" in listed
    assert "alfworld-llama31-8b" in sand("experiments").stdout


def test_an_experiments_file_with_an_unknown_key_is_named(sand: Sand, home: Path) -> None:
    (home / "experiments").mkdir()
    (home / "experiments/mine.yaml").write_text("extends: household\ncolour: red\n")
    listed = sand("experiments")
    assert listed.exit_code == 0 and "household" in listed.stdout
    assert "left out" in listed.stdout and "colour: unknown key" in listed.stdout
    assert {"mine"} == {
        e["experiment"] for e in json.loads(sand("experiments", "--json").stdout) if "error" in e
    }
    refused = sand("run", "mine", "--until", "01")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "mine.yaml" in refused.stderr and "colour: unknown key" in refused.stderr


def test_a_plan_says_what_would_run_and_why(sand: Sand, home: Path) -> None:
    listed = json.loads(sand("plan", "household", "--until", "01", "--json").stdout)
    assert {each["stage"] for each in listed} >= {"tasks", "rollouts", "eval_scores"}
    assert not any(each["complete"] for each in listed), "tables written by hand were made by no stage"
    text = sand("plan", "household", "--until", "01").stdout
    assert "to run" in text and "code: " in text
    refused = sand("plan", "household", "--until", "77")
    assert (refused.exit_code, refused.stdout) == (2, "") and "00, 01" in refused.stderr


def test_scores_that_stand_on_something_else_are_called_stale(sand: Sand) -> None:
    assert "stale: iteration 01: tasks: code: " in sand("scores", "household").stdout
    assert all("code: " in row["stale"] for row in json.loads(sand("scores", "household", "--json").stdout))


def test_tables_of_an_earlier_version_are_refused_with_the_way_out(sand: Sand, home: Path) -> None:
    (home / "household" / "demonstrations").mkdir()
    refused = sand("scores", "household")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"mv {home / 'household'}" in refused.stderr


def test_a_run_ends_with_iteration_01_unless_another_is_named(
    sand: Sand, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, str]] = []
    monkeypatch.setattr(
        import_module("sand_dagster.cli.experiments"),
        "_run",
        lambda name, last, fresh: ran.append((name, last)),
    )
    assert sand("run", "household", "--seeds", "0-1").exit_code == 0
    assert sand("run", "household", "--until", "02").exit_code == 0
    assert ran == [("household", "01"), ("household-seed-1", "01"), ("household", "02")]


def test_a_run_that_cannot_begin_is_one_message(sand: Sand, home: Path) -> None:
    for arguments, message in (
        (("nobody", "--until", "01"), "no experiment 'nobody'"),
        (("household", "--until", "77"), "household has the iterations 00, 01"),
        (("household", "--until", "soon"), "an iteration is a number such as 01"),
    ):
        refused = sand("run", *arguments)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert message in refused.stderr


def test_the_program_runs_and_its_help_loads_nothing_heavy(home: Path) -> None:
    program = Path(sys.executable).with_name("sand")
    environment = {**os.environ, "SAND_HOME": str(home)}
    listed = subprocess.run(
        [program, "scores", "household", "--json"], env=environment, capture_output=True, text=True
    )
    assert (listed.returncode, listed.stderr) == (0, "")
    assert len(json.loads(listed.stdout)) == 2
    wrong = subprocess.run([program, "scores", "nobody"], env=environment, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "") and "Traceback" not in wrong.stderr
    heavy = "torch vllm dagster polars duckdb transformers alfworld"
    code = f"import sand_dagster.cli, sys; print([m for m in {heavy.split()!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_seeds_are_taken_together(sand: Sand, home: Path) -> None:
    wrong = sand("compare", "household", "--seeds", "0-")
    assert wrong.exit_code == 2 and "seeds are numbers such as 0-4" in wrong.stderr
    missing = sand("compare", "household", "--seeds", "0-1")
    assert missing.exit_code == 1
    assert "household-seed-1 has no evaluated iteration 00" in missing.stderr
    assert (home / "experiments/household-seed-1.yaml").is_file()
