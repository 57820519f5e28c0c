import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from sand_dagster.environments import environment_kind
from sand_dagster.environments.replay import replay_all
from sand_dagster.environments.scienceworld import (
    DOMAIN,
    Limits,
    Options,
    experts,
    make,
    recordings,
    specification,
    tasks,
)
from sand_dagster.environments.scienceworld.gold_paths import teleporting
from sand_dagster.environments.scienceworld.task_types import PUBLISHED, TASK_TYPES, from_published_name
from sand_dagster.environments.scienceworld.thoughts import thought
from sand_dagster.exports.records import write_records
from sand_dagster.prompts.turns import conversation
from sand_dagster.recordings.eto import RecordError
from sand_dagster.types import Step, Task, Trajectory
from sand_dagster.verdicts import Verdict

SHARED = Path(os.environ.get("SAND_SHARED", Path(__file__).parents[4] / "shared"))
INDICES = SHARED / "data" / "scienceworld"
HOME = Path("unused")


def silent(done: int, total: int) -> None:
    pass


def listed(options: Options) -> dict[str, list[Task]]:
    found: dict[str, list[Task]] = {"train": [], "seen": [], "unseen": []}
    for task in tasks(options, HOME, silent):
        found[task.split].append(task)
    return found


@pytest.mark.skipif(not INDICES.is_dir(), reason=f"no {INDICES}: set SAND_SHARED")
def test_the_published_split() -> None:
    published = listed(Options(indices=INDICES))
    assert {split: len(found) for split, found in published.items()} == {
        "train": 1483,
        "seen": 194,
        "unseen": 211,
    }
    ids = {task.id for found in published.values() for task in found}
    assert len(ids) == 1483 + 194 + 211, "a task of two splits has an id in each"
    built_in = listed(Options())
    assert {task.id for task in built_in["unseen"]} == {task.id for task in published["unseen"]}


def write_indices(folder: Path, **splits: list[tuple[str, int]]) -> Path:
    for split in ("train", "dev", "test"):
        (folder / f"{split}_indices.json").write_text(json.dumps(splits.get(split, [])))
    return folder


def test_a_seen_task_that_is_a_training_task_has_an_id_of_its_own(tmp_path: Path) -> None:
    both, other = ("task-3-find-plant", 164), ("task-3-find-plant", 0)
    indices = write_indices(tmp_path, train=[other, both], dev=[both], test=[])
    found = listed(Options(indices=indices))
    assert [task.id for task in found["train"]] == [
        "scienceworld/find-plant/0",
        "scienceworld/find-plant/164",
    ]
    (seen,) = found["seen"]
    assert (seen.id, seen.split) == ("scienceworld/seen/find-plant/164", "seen")
    assert seen.spec == found["train"][1].spec
    (alone,) = listed(Options(indices=indices, limits=Limits(train=0)))["seen"]
    assert alone == seen, "its id does not depend on how many training tasks there are"


def test_an_index_file_that_names_a_task_twice_is_refused(tmp_path: Path) -> None:
    indices = write_indices(tmp_path, dev=[("task-3-find-plant", 1), ("task-3-find-plant", 1)])
    with pytest.raises(ValueError, match=r"dev_indices\.json, row 1: .*find-plant, variation 1 is in row 0"):
        tasks(Options(indices=indices), HOME, silent)


@pytest.mark.skipif(not INDICES.is_dir(), reason=f"no {INDICES}: set SAND_SHARED")
def test_the_published_step_limits_and_numbers() -> None:
    limits = json.loads((INDICES / "max_steps.json").read_text())
    assert {from_published_name(name): limit for name, limit in limits.items()} == {
        name: TASK_TYPES[name].step_limit for name in PUBLISHED
    }
    numbers = json.loads((INDICES / "taskname2id.json").read_text())
    assert all(TASK_TYPES[from_published_name(name)].eto == number for name, number in numbers.items())


def test_a_version_that_was_not_compared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tasks(Options(), HOME, silent)[0].spec["version"] in specification.COMPARED
    monkeypatch.setattr(specification, "version", lambda package: "1.3.0")
    said = (
        r"scienceworld 1\.3\.0 is installed; .*: 1\.2\.3\. Install scienceworld==1\.2\.3, or run `sand bench"
    )
    with pytest.raises(ValueError, match=said):
        make(Options(), HOME)
    with pytest.raises(ValueError, match=said):
        tasks(Options(), HOME, silent)


def test_built_in_tasks_are_stable_and_disjoint() -> None:
    options = Options(task_types=("lifespan-longest-lived", "find-plant"), limits=Limits(train=7, seen=6))
    found = listed(options)
    assert found == listed(options)
    assert {split: len(each) for split, each in found.items()} == {"train": 7, "seen": 6, "unseen": 20}
    assert len({task.id for each in found.values() for task in each}) == 33
    assert {task.step_limit for each in found.values() for task in each} == {10, 15}


def test_an_unpublished_type_needs_a_step_limit() -> None:
    with pytest.raises(ValueError, match=r"mendelian-genetics-known-plant .* set `step_limit`"):
        tasks(Options(task_types=("mendelian-genetics-known-plant",)), HOME, silent)
    assert tasks(Options(task_types=("mendelian-genetics-known-plant",), step_limit=40), HOME, silent)


def test_options_say_what_is_allowed() -> None:
    with pytest.raises(ValidationError, match=r"no task type find-gold; there are boil, .*"):
        Options(task_types=("find-gold",))
    with pytest.raises(ValueError, match=r"no .*train_indices\.json"):
        tasks(Options(indices=Path("nowhere")), HOME, silent)
    options = Options.model_validate_json(
        '{"experts": "gold_paths", "limits": {"train": 3}, "indices": "~/sw"}'
    )
    assert options.experts == "gold_paths"
    assert options.indices == Path.home() / "sw"
    assert Options.model_validate_json(Options(experts=Path("file.json")).model_dump_json()).experts == Path(
        "file.json"
    )


def test_normalised_actions() -> None:
    assert DOMAIN.normalise(" Focus on  the Egg. ") == "focus on the egg"
    assert environment_kind("scienceworld").DOMAIN.name == "scienceworld"


def test_walks_become_teleports() -> None:
    path = ["open door to kitchen", "go to kitchen", "open door to outside", "go to outside", "focus on egg"]
    assert teleporting(path) == ["look around", "teleport to outside", "look around", "focus on egg"][1:]
    assert teleporting(["look around", "mix bowl"]) == ["look around", "mix bowl"]
    assert teleporting(["mix bowl"]) == ["look around", "mix bowl"]


def test_thoughts_name_the_goal_and_the_action() -> None:
    task = "Task Description:\nYour task is to boil water. First, focus on the substance."
    assert thought(task, "teleport to kitchen") == "To boil water, I have to be in the kitchen."
    assert "metal pot" in thought(task, "move metal pot to sink")
    assert "2" in thought(task, "2")


def test_gold_paths_are_expert_trajectories(caplog: pytest.LogCaptureFixture) -> None:
    options = Options(task_types=("find-non-living-thing",), limits=Limits(train=3, seen=0, unseen=0))
    *wanted, hurried = tasks(options, HOME, silent)
    seen: list[tuple[int, int]] = []
    found = list(
        experts(
            options,
            HOME,
            [*wanted, replace(hurried, step_limit=2)],
            lambda done, total: seen.append((done, total)),
        )
    )
    assert [each.task for each in found] == wanted
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert "1 take more turns than their step limit" in caplog.text
    for each in found:
        assert each.reward == pytest.approx(1.0)
        assert len(each.steps) <= each.task.step_limit
        assert all(step.thought and step.observation != DOMAIN.refusal for step in each.steps)
        assert not any(step.action.startswith("go to") for step in each.steps)


def test_experts_of_an_eto_file(tmp_path: Path) -> None:
    conversation = [
        {"from": "human", "value": "You are a helpful assistant. …"},
        {"from": "gpt", "value": "OK"},
        {"from": "human", "value": "Task Description:\nYour task is to find a(n) plant."},
        {"from": "gpt", "value": "Thought: Go.\nAction: teleport to greenhouse"},
        {"from": "human", "value": "Observation: You teleport to the greenhouse."},
        {"from": "gpt", "value": "Action: focus on apple tree"},
    ]
    path = tmp_path / "sciworld_sft.json"
    path.write_text(
        json.dumps(
            [{"id": "14_3", "conversations": conversation}, {"id": "99_0", "conversations": conversation}]
        )
    )
    options = Options(task_types=("find-plant",), experts=path)
    assert list(experts(options, HOME, tasks(options, HOME, silent), silent)) == []
    read = recordings(options, HOME, tasks(options, HOME, silent))
    assert read is not None
    first, other = read.rows
    found = first.trajectory
    assert (other.trajectory, other.verdict) == (None, Verdict.UNKNOWN_TASK)
    assert "no task of ScienceWorld" in other.problem
    assert found is not None
    assert found.task.id == "scienceworld/find-plant/3"
    assert [(step.thought, step.action) for step in found.steps] == [
        ("Go.", "teleport to greenhouse"),
        ("", "focus on apple tree"),
    ]
    path.write_text(json.dumps([{"id": "alfworld_0", "game_file": "a/b", "conversations": conversation}]))
    with pytest.raises(RecordError, match=r"no row's `id` names a task.*belongs to ALFWorld"):
        recordings(options, HOME, tasks(options, HOME, silent))


def test_an_exported_row_belongs_to_the_task_that_it_names_and_keeps_its_id(tmp_path: Path) -> None:
    options = Options(task_types=("find-plant",), experts=tmp_path / "ours.json")
    chosen = tasks(options, HOME, silent)
    task = next(each for each in chosen if each.id == "scienceworld/find-plant/3")
    exported = Trajectory("0123456789abcdef", task, "Task Description:\nx", [Step("", "wait", "y")], 1.0)
    write_records(tmp_path / "ours.json", DOMAIN, [exported])
    read = recordings(options, HOME, chosen)
    assert read is not None
    (row,) = read.rows
    assert row.trajectory == replace(exported, steps=(Step("", "wait", "y"),)) and row.reward == 1.0


def test_an_eto_file_is_replayed_in_the_simulator(tmp_path: Path) -> None:
    options = Options(task_types=("find-non-living-thing",), limits=Limits(train=3, seen=0, unseen=0))
    chosen = tasks(options, HOME, silent)
    rows = []
    for gold in experts(options, HOME, chosen, silent):
        focus = next(i for i, step in enumerate(gold.steps) if step.action.startswith("focus on"))
        wrong = replace(gold.steps[focus], action="focus on air")
        lost = [*gold.steps[:focus], wrong, *gold.steps[focus + 1 :]]
        refused = [Step("Why not.", "dance on the moon", "You dance."), *gold.steps]
        for steps in (gold.steps, lost, refused, gold.steps[:-1]):
            turns = conversation(DOMAIN, gold.instruction, steps)[:-1]
            rows.append({"id": f"13_{gold.task.spec['variation']}", "conversations": turns})
    path = tmp_path / "sciworld_sft.json"
    path.write_text(json.dumps(rows))
    read = recordings(options.model_copy(update={"experts": path}), HOME, chosen)
    assert read is not None
    kind = environment_kind("scienceworld")
    found = list(replay_all(lambda: kind.make(options, HOME), read.rows, DOMAIN.refusal))
    assert len(found) == 12
    for kept, lost_row, refused_row, cut in zip(*(found[n::4] for n in range(4)), strict=True):
        assert (kept.verdict, kept.reward) == ("kept", 1.0)
        assert lost_row.verdict == "does_not_win" and lost_row.reward < 1.0
        assert (refused_row.verdict, refused_row.refused_at) == ("refused_action", 0)
        assert cut.verdict == "does_not_win"
