"""The stages' definitions: which tables they read, and how their rows are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sand_dagster.artifacts.schemas import TABLES
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets import stages_of
from sand_dagster.assets.metadata import column_lineage, describe
from sand_dagster.experiments.experiment import Experiment
from sand_dagster.experiments.loading import load_experiment
from tests.artifacts.experiment import two_iterations, write
from tests.artifacts.rows import row
from tests.assets.pipeline import Pipeline
from tests.conftest import FakeCards


def _readers_of_experts(experiment: Experiment) -> set[str]:
    return {
        definition.name
        for definition in stages_of(experiment)
        if any(source.table == "expert_data" for source in definition.sources(experiment, "01"))
    }


def test_only_with_the_eto_protocol_do_playing_stages_read_the_experts_example(tmp_path: Path) -> None:
    paper = load_experiment("household", tmp_path)
    eto = paper.model_copy(update={"protocol": "eto"})
    assert _readers_of_experts(paper) == {"expert_trajectories"}
    playing = {"candidate_actions", "rollouts", "eval_episodes"}
    assert _readers_of_experts(eto) == {"expert_trajectories", *playing}


def _described(store: ArtifactStore, table: str, iteration: str | None = "01") -> dict[str, Any]:
    return describe(TABLES[table], store.scan(table, iteration), store.require(table, iteration))


def _shown(
    store: ArtifactStore, table: str, iteration: str | None = "01"
) -> tuple[list[dict[str, Any]], str]:
    metadata = _described(store, table, iteration)
    return [dict(record.data) for record in metadata["rows"].records], metadata["example"].md_str


def test_the_first_of_each_kind_is_shown(tmp_path: Path) -> None:
    store = two_iterations(tmp_path)
    rows, deliberation = _shown(store, "deliberation_trajectories")
    assert [row["step_id"] for row in rows] == ["s10", "s11"]
    assert "- go to [stove 1]: It is not there." in deliberation and "Action: take mug 1" in deliberation
    assert _shown(store, "deliberation_trajectories")[1].count("Action:") == 1
    assert _shown(store, "critiques")[1] == "```text\nIt is not there.\n```"
    assert "Observation: You see nothing." in _shown(store, "rollouts")[1]
    assert _shown(store, "expert_data", None)[1].count("Action: take mug 1") == 2
    assert len(_shown(store, "eval_episodes")[0]) == 3


def test_what_can_be_read_comes_first_and_ids_last(tmp_path: Path) -> None:
    store = two_iterations(tmp_path)
    rows = _described(store, "critiques")["rows"]
    names = [column.name for column in rows.schema.columns]
    assert names[0] == "critique" and names[-1] == "critique_id"
    assert not any(name.endswith(("_id", "_hash")) for name in names[:-1])
    assert len(names) <= 8 and len(rows.records) <= 3


def test_a_materialisation_names_the_command_that_says_where_a_row_came_from(tmp_path: Path) -> None:
    metadata = _described(two_iterations(tmp_path), "deliberation_trajectories")
    assert metadata["lineage"] == "sand lineage trace s10 --experiment household"


def test_columns_of_ids_say_whose_ids_they_are(tmp_path: Path) -> None:
    experiment = load_experiment("household", tmp_path)
    (critiques,) = (each for each in stages_of(experiment) if each.name == "critiques")
    lineage = column_lineage(TABLES["critiques"], critiques.sources(experiment, "01"))
    found = lineage["dagster/column_lineage"].deps_by_column
    assert [(dep.asset_key.path, dep.column_name) for dep in found["rollout_id"]] == [
        (["household", "rollouts"], "rollout_id")
    ]


def test_the_first_step_that_deliberates_is_shown_with_all_its_candidates(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path, "household")
    agreeing = row("candidate_actions", "a0", step_id="s0", action="wait", is_expert=True)
    differing = [
        row("candidate_actions", f"a{n}", step_id="s1", action=action, deliberates=True, is_expert=n == 1)
        for n, action in ((1, "look"), (2, "fly"))
    ]
    write(store, "candidate_actions", "01", [agreeing, *differing])
    assert _shown(store, "candidate_actions")[1] == (
        "```text\n0 votes  look  (the expert)\n0 votes  fly\n```"
    )
    write(store, "candidate_actions", "01", [agreeing])
    assert "wait" in _shown(store, "candidate_actions")[1]


def test_a_stage_that_uses_the_gpus_records_the_memory_in_use(
    pipeline: Pipeline, fake_cards: FakeCards
) -> None:
    assert "gpus" not in pipeline.store.require("rollouts", "01").counts, "this was without cards"
    fake_cards(2)
    pipeline.materialise("rollouts", "expert_trajectories", iteration="01")
    counts = pipeline.store.require("rollouts", "01").counts
    assert {name: counts[name] for name in counts if name.startswith("gpu")} == {
        "gpus": 2,
        "gpu_mib_before": 101,
        "gpu_mib_after": 101,
    }
    assert "gpus" not in pipeline.store.require("expert_trajectories", "01").counts
