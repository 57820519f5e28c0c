"""Expert trajectories in ETO's format, valid and damaged in two hundred ways, imported through real games."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from alfworld_compiled.spelling import PUT_TOGGLE
from sand_dagster.artifacts.store import ArtifactStore
from sand_dagster.assets import stages_of
from sand_dagster.assets.asset import asset_of
from sand_dagster.environments import alfworld
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.environments.replay import read_file, replay_all
from sand_dagster.experiments.loading import load_experiment
from sand_dagster.prompts.turns import conversation
from sand_dagster.recordings.importing import import_recordings, kept_trajectories
from sand_dagster.resources import resources
from sand_dagster.rows.experts import ImportRow
from sand_dagster.sand.trajectories import expert_rows
from sand_dagster.verdicts import Verdict
from tests.sand.scripted import stage
from toy_alfworld import games as household

Record = dict[str, Any]
KIND = alfworld
MOON = {"role": "assistant", "content": "Thought: The moon may have it.\nAction: go to moon 1"}
NOTHING = {"role": "user", "content": "Observation: Nothing happens."}
LANDED = {"role": "user", "content": "Observation: On the moon 1, you see a cheese 1."}


@dataclass(frozen=True)
class World:
    """Games, and trajectories of ETO's format that win them: prompt, "OK", task, then the agent's turns."""

    games: Path
    records: list[Record]


@pytest.fixture(scope="session")
def generated_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Generated games, and the project's expert trajectories in ETO's format."""
    home = tmp_path_factory.mktemp("generated")
    options = household.Options(train=3, seen=0, unseen=0, seed=7)
    tasks = household.tasks(options, home, lambda *_: None)
    records = []
    for number, expert in enumerate(household.experts(options, home, tasks, lambda *_: None)):
        prompt, *turns = conversation(household.DOMAIN, expert.instruction, expert.steps)
        turns = [{"role": "user", "content": expert.instruction}, *turns[:-1]]
        for turn in turns[1:]:
            before, marker, action = turn["content"].partition("Action: ")
            turn["content"] = (
                before + marker + PUT_TOGGLE.respell(action)
                if turn["role"] == "assistant"
                else PUT_TOGGLE.reword(turn["content"])
            )
        first = [prompt, {"role": "assistant", "content": "OK"}]
        folder = Path(str(expert.task.spec["game"])).parent
        game = f"data/json_2.1.1/{folder}"
        records.append({"id": f"alfworld_{number}", "game_file": game, "conversations": [*first, *turns]})
    games = next((home / "games").glob("*/train")).parent
    return World(games, records)


@pytest.fixture(scope="session")
def published_world(shared: Path, published: Path) -> World:
    """The published sample and its games."""
    return World(published, json.loads((shared / "data/alfworld/eto_sft_sample.json").read_text()))


@pytest.fixture(params=["generated_world", "published_world"])
def world(request: pytest.FixtureRequest) -> World:
    found: World = request.getfixturevalue(request.param)
    return found


def variants(records: list[Record]) -> Iterator[tuple[Record | str, str]]:
    """Rows of a file, or the text of a damaged one, each with its expected verdict."""
    for record in records:
        turns = record["conversations"]
        actions = range(3, len(turns), 2)
        other = next(each for each in records if each["game_file"] != record["game_file"])

        def changed(*, of: Record = record, **parts: Any) -> Record:
            return {**deepcopy(of), **parts}

        def with_turns(new: list[Any]) -> Record:
            return changed(conversations=deepcopy(new))

        yield changed(), "kept"
        yield changed(reward=0.25), "kept"
        names = {"user": "human", "assistant": "gpt"}
        yield with_turns([{"from": names[t["role"]], "value": t["content"]} for t in turns]), "kept"
        one_line = [{**t, "content": t["content"].replace("\nAction:", " Action:")} for t in turns[3:]]
        yield with_turns([*turns[:3], *one_line]), "kept"
        yield with_turns([*turns[:3], *map(_in_the_newer_grammar, turns[3:])]), "kept"
        yield (
            with_turns([turns[0], turns[1], _said(turns[2], "You are in the middle of a room.")]),
            "malformed",
        )
        yield with_turns([*turns[:2], _said(turns[2], "You wake up."), *turns[3:]]), "kept_reworded"
        after_the_end = [*turns, {"role": "user", "content": "Observation: You are done."}, MOON, NOTHING]
        yield with_turns(after_the_end), "kept_reworded"
        for place in actions:
            before, after = turns[:place], turns[place:]
            yield with_turns([*before, MOON, NOTHING, *after]), "refused_action"
            yield with_turns([*before, MOON, LANDED, *after]), "refused_action"
            yield (
                with_turns([*before, {"role": "assistant", "content": "Hm."}, NOTHING, *after]),
                "refused_action" if place > 3 else "kept_reworded",  # the agent's first words are not a turn
            )
            yield (
                with_turns([*before, {"role": "assistant", "content": "Action: look"}, LANDED, *after]),
                "kept_reworded",
            )
            yield with_turns([*before, after[0], *after]), "malformed"
            if place > 3:
                yield with_turns(turns[: place - 1]), "does_not_win"
                yield with_turns(turns[:place]), "does_not_win"
                reworded = _said(turns[place - 1], "Observation: You see a unicorn.")
                yield with_turns([*turns[: place - 1], reworded, *after]), "kept_reworded"
        yield with_turns([*turns[:-1], MOON]), "does_not_win"
        yield changed(game_file=other["game_file"]), "does_not_win"
        yield changed(game_file=record["game_file"] + "0"), "unknown_task"
        yield changed(game_file=record["game_file"].replace("train", "../../etc")), "unknown_task"
        yield changed(game_file=""), "malformed"
        yield changed(game_file=3), "malformed"
        yield changed(reward="high"), "malformed"
        yield changed(conversations=[]), "malformed"
        yield changed(conversations="none"), "malformed"
        yield with_turns([*turns[:4], {"content": "Observation: x"}, *turns[5:]]), "malformed"
        yield with_turns([*turns[:4], {"role": "user"}, *turns[5:]]), "malformed"
        yield with_turns([*turns[:4], {"role": "narrator", "content": "x"}, *turns[5:]]), "malformed"
        yield with_turns([*turns[:4], None, *turns[5:]]), "malformed"
        yield with_turns(turns[3:]), "malformed"
        yield {key: value for key, value in record.items() if key != "conversations"}, "malformed"
        text = json.dumps(record)
        yield text[: len(text) // 2], "malformed"
        yield text.replace('"content"', "content", 1), "malformed"


def _said(turn: Record, text: str) -> Record:
    return {**turn, "content": text}


def _in_the_newer_grammar(turn: Record) -> Record:
    text = turn["content"].replace(" in/on the ", " to the ").replace(" in/on ", " to ")
    return _said(turn, text.replace("Action: put ", "Action: move ").replace("You put the", "You move the"))


def written(path: Path, records: list[Record]) -> tuple[Path, list[str]]:
    """The file of all variants, each with its own id, except for a few duplicates."""
    rows: list[str] = []
    expected: list[str] = []
    for number, (row, verdict) in enumerate(variants(records)):
        if isinstance(row, dict):
            row = json.dumps({**row, "id": f"alfworld_{number}"})
        rows.append(row)
        expected.append(verdict)
    for number in [n for n, verdict in enumerate(expected) if verdict.startswith("kept")][:6]:
        rows.append(rows[number])
        expected.append("duplicate")
    rows += ["null", "7", '"text"', json.dumps({"id": None, "conversations": []})]
    expected += ["malformed"] * 4
    path.write_text(f"[{', '.join(rows)}]")
    return path, expected


def options_of(world: World, file: Path | None = None, **chosen: Any) -> alfworld.Options:
    return alfworld.Options(games=world.games, experts=file, unsupported="stock", step_limit=40, **chosen)


async def test_two_hundred_broken_variants_each_get_their_verdict(world: World, tmp_path: Path) -> None:
    file, expected = written(tmp_path / "experts.json", world.records)
    assert len(expected) >= 200
    options = options_of(world, file)
    tasks = alfworld.tasks(options, tmp_path, lambda *_: None)
    recordings = alfworld.recordings(options, tmp_path, tasks)
    assert recordings is not None
    async with EnvironmentPool("alfworld", options, tmp_path, workers=2) as pool:
        finished = await import_recordings(
            stage(max_concurrency=16), recordings, pool, alfworld.DOMAIN.refusal
        )
        rows = [row for group in finished.rows for row in group]
        assert [(row.row, row.verdict, row.problem) for row in rows] == [
            (number, verdict, rows[number].problem) for number, verdict in enumerate(expected)
        ]
        _explained(rows)
        kept = list(kept_trajectories(rows, {task.id: task for task in tasks}))
        for trajectory in kept[::7]:
            # Kept trajectories can be replayed in later stages, to any step.
            await (await pool.open(trajectory.task, trajectory.steps)).close()
    assert len(kept) == sum(verdict.startswith("kept") for verdict in expected)
    assert {trajectory.reward for trajectory in kept} == {1.0}
    steps = [step for trajectory in kept for step in trajectory.steps]
    assert not any("moon" in step.action for step in steps)
    assert all(step.observation not in ("", "Nothing happens.") for step in steps)
    ids = [step.step_id for step in expert_rows(kept)]
    assert len(set(ids)) == len(ids)


def _explained(rows: list[ImportRow]) -> None:
    """Every verdict has its reason."""
    for row in rows:
        match row.verdict:
            case "kept":
                assert row.differs_at is None and row.reward == 1.0
            case "kept_reworded":
                assert row.expected != row.found and row.reward == 1.0
            case "refused_action":
                refused = row.steps[row.refused_at]
                assert refused.action in ("go to moon 1", "") and not refused.valid
            case "does_not_win":
                assert row.reward == 0.0
            case _:
                assert row.problem
        if row.verdict in ("malformed", "unknown_task"):
            assert row.reward is None and row.steps == ()


def test_the_sample_itself_replays_text_for_text(world: World, tmp_path: Path) -> None:
    file = tmp_path / "experts.json"
    file.write_text(json.dumps(world.records))
    options = options_of(world)
    recordings = read_file(file, KIND, options, tmp_path)  # type: ignore[arg-type]
    rows = list(replay_all(lambda: alfworld.make(options, tmp_path), recordings.rows, "Nothing happens."))
    assert [(row.verdict, row.reward) for row in rows] == [("kept", 1.0)] * 3
    assert [row.steps[-1].observation != "" for row in rows] == [True] * 3


def test_all_that_can_be_replayed_is_kept_if_configured(world: World, tmp_path: Path) -> None:
    lost, moon = deepcopy(world.records[0]), deepcopy(world.records[1])
    lost["conversations"] = lost["conversations"][:-2]
    moon["conversations"][3:3] = [MOON, NOTHING]
    file = tmp_path / "experts.json"
    file.write_text(json.dumps([lost, moon, {**lost, "game_file": "train/none"}]))
    options = options_of(world, file, keep="all")
    recordings = alfworld.recordings(options, tmp_path, alfworld.tasks(options, tmp_path, lambda *_: None))
    assert recordings is not None
    make = lambda: alfworld.make(options, tmp_path)  # noqa: E731
    rows = list(replay_all(make, recordings.rows, "Nothing happens.", recordings.keep))
    assert [(row.verdict, row.kept, row.reward) for row in rows] == [
        ("does_not_win", True, 0.0),
        ("refused_action", True, 1.0),
        ("unknown_task", False, None),
    ]


def test_a_game_that_cannot_be_opened_is_the_row_of_its_trajectory(
    generated_world: World, tmp_path: Path
) -> None:
    file = tmp_path / "experts.json"
    file.write_text(json.dumps(generated_world.records))
    options = options_of(generated_world)
    recordings = read_file(file, KIND, options, tmp_path)  # type: ignore[arg-type]
    broken = recordings.rows[1].trajectory
    assert broken is not None

    def make() -> alfworld.AlfworldEnvironment:
        environment = alfworld.make(options, tmp_path)
        opened = environment.reset

        def reset(task: Any) -> str:
            if task == broken.task:
                raise alfworld.GameError("it is torn")
            return opened(task)

        environment.reset = reset  # type: ignore[method-assign]
        return environment

    rows = list(replay_all(make, recordings.rows, "Nothing happens."))
    assert [row.verdict for row in rows] == ["kept", "environment_error", "kept"]
    assert rows[1].problem == "GameError: it is torn"


_EXPERIMENT = """\
extends: household
description: expert trajectories of a file
environment: {{kind: alfworld, games: {games}, experts: {file}, unsupported: stock, step_limit: 40}}
"""


def materialise(home: Path, world: World, file: Path) -> dg.ExecuteInProcessResult:
    """The first stages of an experiment on `file`, run by Dagster."""
    (home / "experiments").mkdir(parents=True, exist_ok=True)
    (home / "experiments/foreign.yaml").write_text(_EXPERIMENT.format(games=world.games, file=file))
    experiment = load_experiment("foreign", home)
    partitions = dg.StaticPartitionsDefinition(experiment.partitions)
    names = ("tasks", "expert_import", "expert_data")
    assets = [asset_of(each, experiment, partitions) for each in stages_of(experiment) if each.name in names]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAND_HOME", str(home))
        return dg.materialize(assets, resources=resources(), raise_on_error=False)


def test_the_stages_go_on_with_what_is_kept_and_count_the_rest(world: World, tmp_path: Path) -> None:
    file, expected = written(tmp_path / "experts.json", world.records)
    assert materialise(tmp_path, world, file).success
    store = ArtifactStore(tmp_path, "foreign")
    counted = Counter(expected)
    counts = store.require("expert_import", None).counts
    assert {verdict.value: counts[verdict.value] for verdict in Verdict if counts[verdict.value]} == counted
    kept = sum(verdict.startswith("kept") for verdict in expected)
    assert counts["kept"] == counted["kept"]
    assert store.require("expert_data", None).counts["trajectories"] == counts["taken"] == kept


@pytest.mark.parametrize(
    ("change", "stage", "said"),
    [
        ({"game_file": "train/none"}, "expert_import", "3 unknown_task. The file belongs to other tasks"),
        ({"conversations": []}, "tasks", "none of its 3 rows is a trajectory"),
        ({"game_file": ""}, "tasks", "its rows have no `game_file`"),
    ],
)
def test_a_file_of_which_nothing_can_be_taken_ends_with_advice_and_can_be_mended(
    generated_world: World, tmp_path: Path, change: Record, stage: str, said: str
) -> None:
    file = tmp_path / "experts.json"
    file.write_text(json.dumps([{**record, **change} for record in generated_world.records]))
    result = materialise(tmp_path, generated_world, file)
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert failure.step_key.endswith(stage)
    failed = failure.step_failure_data.user_failure_data
    assert failed is not None and failed.description is not None and said in failed.description
    file.write_text(json.dumps(generated_world.records))
    assert materialise(tmp_path, generated_world, file).success
