from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster import RunStatusSensorDefinition

from sand_dagster.definitions import SHOWN, definitions
from sand_dagster.jobs.iteration import UNTIL
from tests.assets.pipeline import ITERATION

defs = definitions(["all"])
CHAIN = ITERATION[ITERATION.index("candidate_actions") :]
ASKING = ("candidate_actions", "rollouts", "critiques", "deliberation_trajectories", "eval_episodes")


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    return defs.get_repository_def()


READS = {
    "tasks": set[str](),
    "expert_import": {"tasks"},
    "expert_data": {"expert_import", "tasks"},
    "base_model": set[str](),
    "expert_trajectories": {"expert_data"},
    "policy": {"base_model"},
    "candidate_actions": {"expert_trajectories", "policy"},
    "rollouts": {"candidate_actions", "expert_trajectories", "policy", "tasks"},
    "critiques": {"rollouts", "candidate_actions", "expert_trajectories", "base_model"},
    "deliberation_trajectories": {
        "critiques",
        "rollouts",
        "candidate_actions",
        "expert_trajectories",
        "base_model",
    },
    "checkpoints": {"deliberation_trajectories", "policy"},
    "eval_episodes": {"checkpoints", "tasks"},
    "eval_scores": {"eval_episodes"},
    "report": {"eval_scores"},
}
"""Every table that a stage reads, in the same iteration; and what the report follows."""


def _parents(repository: dg.RepositoryDefinition, experiment: str) -> dict[str, set[str]]:
    graph = repository.asset_graph
    return {
        key.path[-1]: {parent.path[-1] for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
        if key.path[0] == experiment
    }


def test_the_graph_is_the_data_graph(repository: dg.RepositoryDefinition) -> None:
    assert _parents(repository, "household") == READS


def test_the_iteration_job_leaves_alone_what_has_no_iterations() -> None:
    once = {"tasks", "expert_import", "expert_data", "base_model"}
    jobs = {name: defs.resolve_job_def(name) for name in ("household", "household_setup")}
    selected = {
        name: {key.path[-1] for key in job.asset_layer.executable_asset_keys} for name, job in jobs.items()
    }
    assert selected == {"household": READS.keys() - once, "household_setup": once}


def test_broken_invariants_stop_the_run_and_staleness_warns(repository: dg.RepositoryDefinition) -> None:
    for key in repository.asset_graph.asset_check_keys:
        spec = repository.asset_graph.get_check_spec(key)
        assert spec.blocking == (key.name != "up_to_date")


def test_every_asset_says_whether_it_is_up_to_date(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    stages = {key for key in _ours(repository) if key.path[-1] != "report"}  # which has no table
    assert {key.asset_key for key in graph.asset_check_keys if key.name == "up_to_date"} == stages


def _ours(repository: dg.RepositoryDefinition) -> set[dg.AssetKey]:
    return {key for key in repository.asset_graph.get_all_asset_keys() if len(key.path) == 2}


def _groups(home: Path, patch: pytest.MonkeyPatch, **environment: str) -> set[str]:
    patch.setenv("SAND_HOME", str(home))
    for name, value in environment.items():
        patch.setenv(name, value)
    graph = definitions().get_repository_def().asset_graph
    return {str(graph.get(key).group_name) for key in graph.get_all_asset_keys()}


def test_a_new_home_shows_the_default_experiment_and_says_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _groups(tmp_path, monkeypatch) == {"household", "more_experiments"}
    asked = _groups(tmp_path, monkeypatch, **{SHOWN: "smollm2, household-base"})
    assert asked == {"household", "household_base", "smollm2", "more_experiments"}


def test_what_is_in_use_is_shown_with_what_it_is_measured_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alfworld-qwen25-7b").mkdir()
    (tmp_path / "experiments").mkdir()
    mine = "description: mine\nextends: household-more-sft\ncontrol_for: household-expert-switch\n"
    (tmp_path / "experiments" / "mine.yaml").write_text(mine)
    shown = _groups(tmp_path, monkeypatch) - {"household", "more_experiments"}
    assert shown == {"alfworld_qwen25_7b", "mine", "household_expert_switch"}


def test_an_experiment_whose_file_is_wrong_stands_beside_the_others_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "experiments").mkdir()
    file = tmp_path / "experiments" / "wrong.yaml"
    file.write_text("description: wrong\nextends: household\nsamplin: 3\n")
    monkeypatch.setenv("SAND_HOME", str(tmp_path))
    graph = definitions().get_repository_def().asset_graph
    groups = {str(graph.get(key).group_name) for key in graph.get_all_asset_keys()}
    assert groups == {"household", "experiments_with_errors", "more_experiments"}
    description = graph.get(dg.AssetKey("wrong")).description
    assert description and "samplin" in description and "Correct the file and reload" in description


def _offered(fields: Mapping[str, Any], *path: str) -> set[str]:
    """The fields of the launchpad's configuration below `path`."""
    for name in path:
        fields = fields[name].config_type.fields
    return set(fields)


def test_the_launchpad_offers_nothing_that_has_no_effect() -> None:
    fields = defs.resolve_job_def("household").run_config_schema.config_type.fields
    assert _offered(fields, "resources", "artifacts", "config") == set()
    assert _offered(fields, "resources", "loop", "config") == {"until"}
    offered = {op: _offered(fields, "ops", op, "config") for op in _offered(fields, "ops")}
    stages = {f"household__{name}": offered.pop(f"household__{name}") for name in ITERATION}
    assert {name.removeprefix("household__"): those for name, those in stages.items() if those} == {
        **{name: {"fresh", "limit"} for name in ASKING},
        "checkpoints": {"fresh"},
    }
    assert set().union(*offered.values()) == set()  # the report and the checks


def test_every_asset_is_described_owned_and_in_its_experiments_group(
    repository: dg.RepositoryDefinition,
) -> None:
    for key in _ours(repository):
        node = repository.asset_graph.get(key)
        assert node.group_name == key.path[0].replace("-", "_")
        assert node.description and node.owners and node.kinds
        assert node.code_version or key.path[-1] == "report"
        # Markdown shows an indented line as code.
        assert "\n " not in node.description
        assert {f"sand/{tag}" for tag in ("variant", "seed", "environment", "model")} <= node.tags.keys()
        if key.path[1] not in ("tasks", "expert_import", "expert_data", "base_model"):
            assert node.partitions_def is not None
            assert node.partitions_def.get_partition_keys()[:2] == ["00", "01"]


def test_gpu_stages_share_a_pool(repository: dg.RepositoryDefinition) -> None:
    pools = {
        key.path[1]: repository.asset_graph.get(key).pools
        for key in _ours(repository)
        if key.path[0] == "household"
    }
    assert {name for name, pool in pools.items() if "gpu" in pool} == {
        *CHAIN[:-1],
    }


def _requested(
    instance: dg.DagsterInstance, job: str, tags: dict[str, str], until: str = ""
) -> list[dg.RunRequest]:
    definition = defs.resolve_job_def(job)
    config = {"resources": {"loop": {"config": {"until": until}}}} if until else {}
    run = instance.create_run_for_job(
        definition, tags=tags, run_config=config, status=dg.DagsterRunStatus.SUCCESS
    )
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.RUN_SUCCESS.value, job_name=job, message="done"
    )
    context = dg.build_run_status_sensor_context("advance", event, instance, run)
    (sensor,) = (sensor for sensor in defs.sensors or () if sensor.name == "advance")
    assert isinstance(sensor, RunStatusSensorDefinition)
    answers = cast("Iterator[object]", sensor(context))
    return [answer for answer in answers if isinstance(answer, dg.RunRequest)]


@pytest.mark.parametrize(
    ("done", "until", "following"),
    [("00", "02", "01"), ("01", "02", "02"), ("02", "02", None), ("03", "99", None), ("00", None, None)],
)
def test_the_sensor_advances_until_the_iteration_that_was_named(
    done: str, until: str | None, following: str | None
) -> None:
    tags = {"dagster/partition": done} | ({UNTIL: until} if until else {})
    with dg.DagsterInstance.ephemeral() as instance:
        requests = _requested(instance, "household", tags)
    assert [request.partition_key for request in requests] == ([following] if following else [])
    for request in requests:
        assert request.job_name == "household" and request.tags[UNTIL] == until


def test_the_launchpad_says_how_far_the_sensor_goes() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        (request,) = _requested(instance, "household", {"dagster/partition": "00"}, until="02")
        assert (request.partition_key, request.tags[UNTIL]) == ("01", "02")
        assert request.run_config == {"resources": {"loop": {"config": {"until": "02"}}}}
        assert not _requested(instance, "household", {"dagster/partition": "02"}, until="02")


@pytest.mark.parametrize(
    ("experiment", "chain"),
    [
        ("household_without_critique", [CHAIN[0], *CHAIN[3:]]),
        ("household_without_sampling", CHAIN[3:]),
        ("household_more_sft", CHAIN[3:]),
        ("household_rft", CHAIN[4:]),
        ("household_eto", CHAIN[4:]),
        ("household_expert_switch", CHAIN),
    ],
)
def test_a_variant_lacks_its_stages_and_reads_nothing_of_them(
    repository: dg.RepositoryDefinition, experiment: str, chain: list[str]
) -> None:
    lacking = set(CHAIN) - set(chain)
    expected = {name: reads - lacking for name, reads in READS.items() if name not in lacking}
    if experiment in ("household_rft", "household_eto"):
        expected |= {
            "explorations": {"policy", "tasks"},
            "checkpoints": {"expert_trajectories", "explorations", "policy"},
        }
    if experiment == "household_rft":
        expected["checkpoints"] |= {"base_model"}  # from which it finetunes again
    if experiment == "household_more_sft":
        expected["checkpoints"] |= {"checkpoints"}  # the household's
    assert _parents(repository, experiment.replace("_", "-")) == expected
