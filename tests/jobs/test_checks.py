"""The checks fail on wrong tables; the end-to-end run shows that they pass on correct ones."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sand_dagster.artifacts.identity import Identity
from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.jobs import checks
from sand_dagster.resources.artifacts import Artifacts
from tests.artifacts.rows import row


class Tables:
    def __init__(self, home: Path) -> None:
        self.store = ArtifactStore(home, "household")
        self.experiment: Experiment = load_experiment("household", home)

    def write(self, table: str, *rows: dict[str, Any], iteration: str = "01") -> None:
        partition = iteration if TABLES[table].partitioned else None
        with self.store.writing(
            table, partition, inputs={}, identity=Identity(), seed=0, run_id="test"
        ) as writer:
            key = TABLES[table].key
            named = [{key: f"{table}-{number}", **each} for number, each in enumerate(rows)]
            writer.commit([row(table, each.pop(key), **each) for each in named], {})

    def problems(self, check: checks.Check) -> list[str]:
        return check(self.experiment, self.store, "01")


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def test_a_step_without_the_experts_candidate_is_found(tables: Tables) -> None:
    tables.write("expert_trajectories", {"step_id": "s1"}, {"step_id": "s2", "index": 1})
    tables.write("candidate_actions", {"step_id": "s1", "is_expert": True}, {"step_id": "s2"})
    assert tables.problems(checks.candidates_tie_up) == ["step s2 has no candidate of the expert's"]


def test_an_indicator_that_contradicts_the_candidates_is_found(tables: Tables) -> None:
    tables.write("expert_trajectories", {"step_id": "s1"})
    tables.write("candidate_actions", {"step_id": "s1", "is_expert": True, "deliberates": True})
    assert tables.problems(checks.candidates_tie_up) == ["step s1: the indicator contradicts its candidates"]


def test_a_missing_a_superfluous_and_a_double_rollout_are_found(tables: Tables) -> None:
    tables.write(
        "candidate_actions",
        {"candidate_id": "c1", "deliberates": True},
        {"candidate_id": "c2", "deliberates": True},
        {"candidate_id": "c3"},
    )
    tables.write("rollouts", {"candidate_id": "c1"}, {"candidate_id": "c1"}, {"candidate_id": "c3"})
    assert sorted(tables.problems(checks.rollouts_tie_up)) == [
        "a rollout of c3, which should have none",
        "candidate_id c1 has more than one rollout",
        "candidate_id c2 has no rollout",
    ]


def test_a_rollout_that_was_not_played_has_no_critique(tables: Tables) -> None:
    tables.write("rollouts", {"rollout_id": "r1"}, {"rollout_id": "r2", "ended": "replay_mismatch"})
    tables.write("critiques", {"rollout_id": "r1"})
    assert tables.problems(checks.critiques_tie_up) == []
    tables.write("critiques", {"rollout_id": "r2"})
    assert sorted(tables.problems(checks.critiques_tie_up)) == [
        "a critique of r2, which should have none",
        "rollout_id r1 has no critique",
    ]


def test_another_action_than_the_experts_is_found(tables: Tables) -> None:
    tables.write(
        "expert_trajectories", {"step_id": "s1", "action": "look"}, {"step_id": "s2", "action": "look"}
    )
    tables.write(
        "deliberation_trajectories",
        {"step_id": "d1", "parent_step_id": "s1", "action": "look"},
        {"step_id": "d2", "parent_step_id": "s2", "action": "go to bed 1"},
    )
    assert tables.problems(checks.ends_in_the_experts_action) == [
        "step d2 does not end in the expert's action"
    ]


def test_a_switched_action_that_its_rollout_never_took_is_found(tables: Tables) -> None:
    turn = {"thought": "", "action": "look", "observation": "", "valid": True}
    tables.write("expert_trajectories", {"step_id": "s1", "action": "help"})
    tables.write("rollouts", {"rollout_id": "r1", "steps": [turn]})
    switched = {"parent_step_id": "s1", "rollout_id": "r1", "origin": "switched"}
    tables.write(
        "deliberation_trajectories",
        {"step_id": "d1", "action": "look", **switched},
        {"step_id": "d2", "action": "go to bed 1", **switched},
    )
    assert tables.problems(checks.ends_in_the_experts_action) == [
        "step d2 does not end in the switched action"
    ]


def test_scores_out_of_bounds_and_unscored_episodes_are_found(tables: Tables) -> None:
    tables.write("eval_episodes", {"episode_id": "e1"}, {"episode_id": "e2"})
    tables.write("eval_scores", {"average_reward": 1.5, "tasks": 1})
    assert tables.problems(checks.scores_within_bounds) == [
        "average_reward is outside [0, 1] in 1 rows",
        "1 tasks are scored, 2 were played",
    ]


def test_a_checkpoint_of_other_steps_is_found(tables: Tables) -> None:
    tables.write("deliberation_trajectories", {"step_id": "d1"})
    tables.write("checkpoints", {"step_ids": ["d0"]})
    assert tables.problems(checks.one_checkpoint)


def test_run_by_itself_a_check_looks_at_all_iterations_that_are_complete(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAND_HOME", str(tmp_path))
    for iteration, reward in (("00", 0.5), ("01", 1.5), ("02", 0.5)):
        tables.write("rollouts", {"reward": reward}, iteration=iteration)
    defs = dg.Definitions(
        asset_checks=checks.checks_of(tables.experiment),
        jobs=[dg.define_asset_job("all", dg.AssetSelection.all_asset_checks())],
        resources={"artifacts": Artifacts()},
        executor=dg.in_process_executor,
    )
    with dg.DagsterInstance.ephemeral() as instance:
        done = defs.resolve_job_def("all").execute_in_process(instance=instance, raise_on_error=False)
    (rewards,) = (each for each in done.get_asset_check_evaluations() if each.check_name == "rollout_rewards")
    assert not rewards.passed
    assert rewards.description == "01: reward is outside [0, 1] in 1 rows"
    assert rewards.metadata["iterations"].value == "00, 01, 02"
