"""The shop against the published engine's records of the same products: searches, walks, rewards, goals."""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sand_dagster.environments.webshop.analysis import terms
from sand_dagster.environments.webshop.catalogue import (
    Asked,
    Catalogue,
    drawn_prices_and_goals,
    read_instructions,
    read_nouns,
    read_products,
)
from sand_dagster.environments.webshop.scoring import score
from sand_dagster.environments.webshop.search import SearchIndex
from sand_dagster.environments.webshop.shop import Shop, State

PUBLISHED = Path(os.environ.get("SAND_SHARED", Path(__file__).parents[4] / "shared")) / "data" / "webshop"
pytestmark = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason=f"no published shop: {PUBLISHED} is missing (set SAND_SHARED)"
)
SPECIAL = ("<q>", "<c>", "<r>", "<a>")


def reference(name: str) -> Any:
    with lzma.open(PUBLISHED / "reference" / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file] if ".jsonl" in name else json.load(file)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    products = read_products(PUBLISHED / "products.jsonl.xz")
    instructions = read_instructions(PUBLISHED / "items_ins_v2_1000.json")
    prices, goals = drawn_prices_and_goals(products, instructions, seed=42)
    return Catalogue(products, prices, goals, read_nouns(PUBLISHED / "reference" / "title_nouns.json.xz"))


@pytest.fixture(scope="module")
def shop(catalogue: Catalogue) -> Shop:
    return Shop(catalogue)


def test_the_index_has_the_published_terms(catalogue: Catalogue) -> None:
    found = [term for product in catalogue.products.values() for term in terms(product.text)]
    assert (len(found), len(set(found))) == (107_608, 12_074)


def test_searches_rank_as_the_published_index(catalogue: Catalogue) -> None:
    index = SearchIndex([(product.id, product.text) for product in catalogue.products.values()])
    compared = 0
    for search in reference("searches.json.xz"):
        query = search["query"].lower()
        if search["env"] != "ok" or query.split(" ")[0] in SPECIAL:
            continue
        scored = index.scored(query)
        assert terms(query) == search["tokens"]
        assert [product for product, _ in scored] == search["ids"], query
        # The recorded scores are rounded to four decimals, and ties lowered by a millionth each.
        assert [value for _, value in scored] == pytest.approx(search["scores"], abs=4e-4), query
        compared += 1
    assert compared > 120


def test_prices_and_goals_are_the_published_ones(catalogue: Catalogue) -> None:
    published = reference("goals.json.xz")
    assert catalogue.prices == published["prices"]
    assert [
        (g.product, g.instruction, list(g.attributes), g.most, dict(g.options)) for g in catalogue.goals
    ] == [
        (g["asin"], g["instruction_text"], g["attributes"], g["price_upper"], g["goal_options"])
        for g in published["goals"]
    ]


@pytest.fixture
def human(tmp_path: Path) -> Path:
    """The instructions that people wrote, as far as the engine stored them with the 1,000 products."""
    with lzma.open(PUBLISHED / "products.jsonl.xz", "rt", encoding="utf-8") as lines:
        stored = [json.loads(line) for line in lines]
    written = {each["id"]: each["product"].get("instructions", []) for each in stored}
    path = tmp_path / "items_human_ins.json"
    path.write_text(json.dumps(written), encoding="utf-8")
    return path


def test_goals_that_people_wrote_are_the_published_ones(catalogue: Catalogue, human: Path) -> None:
    published = reference("goals.json.xz")
    prices, goals = drawn_prices_and_goals(catalogue.products, read_instructions(human), seed=42)
    assert prices == published["prices"]
    assert [(g.product, g.instruction, list(g.attributes), g.most, g.options) for g in goals] == [
        (
            g["asin"],
            g["instruction_text"],
            g["attributes"],
            g["price_upper"],
            tuple(Asked("", value) for value in g["goal_options"]),
        )
        for g in published["human_goals_from_index"]
    ]


def test_an_option_that_a_person_wrote_is_met_by_its_value(catalogue: Catalogue, human: Path) -> None:
    _, goals = drawn_prices_and_goals(catalogue.products, read_instructions(human), seed=42)
    goal = next(goal for goal in goals if len(goal.options) > 1)
    product, asked = catalogue.products[goal.product], [option.value for option in goal.options]
    assert score(catalogue, goal, product, asked).options == 1
    assert score(catalogue, goal, product, asked[1:]).options == 1 - 1 / len(asked)
    assert score(catalogue, goal, product, ["another"]).options == 0


def test_rewards_are_the_published_ones(catalogue: Catalogue) -> None:
    for case in reference("rewards.jsonl.xz"):
        goal, product = catalogue.goals[case["goal_index"]], catalogue.products[case["asin"]]
        found, parts = score(catalogue, goal, product, case["options"].values()), case["parts"]
        assert found.total == case["total"], case["id"]
        assert (found.kind, found.price) == (parts["r_type"], parts["r_price"])
        assert (found.attributes, found.options) == (parts["r_att"], parts.get("r_option"))
        assert (found.title, found.same_query) == (parts["title_score"], parts["query_match"])
        assert found.same_category == parts["category_match"]


def test_what_a_goal_can_give_at_most_is_the_published_ceiling(catalogue: Catalogue) -> None:
    ceilings = reference("goal_ceiling.json.xz")
    found = [
        score(
            catalogue, goal, catalogue.products[goal.product], [option.value for option in goal.options]
        ).total
        for goal in catalogue.goals
    ]
    assert found == ceilings
    assert sum(ceiling < 1 for ceiling in ceilings) == 458


def walks() -> Iterator[Any]:
    if PUBLISHED.is_dir():
        for name in ("walks.jsonl.xz", "walks.edge.jsonl.xz"):
            yield from (pytest.param(walk, id=f"walk {walk['walk']}") for walk in reference(name))


@pytest.mark.parametrize("walk", list(walks()))
def test_walks_read_as_the_published_pages(shop: Shop, walk: dict[str, Any]) -> None:
    goal, state = shop.catalogue.goals[walk["goal_index"]], State()
    assert shop.observation(state, goal) == walk["start"]["observation"]
    for step in walk["steps"]:
        before = state
        state, valid = shop.act(state, goal, step["action"])
        if "raises" in step:
            assert not valid and state is before
            return
        assert shop.observation(state, goal) == step["observation"], step["action"]
        if "clickables_as_listed" in step:
            # The published list counts the start page's search button, which cannot be clicked.
            assert ["search"] * (state.page == "start") + shop.clickables(state) == step[
                "clickables_as_listed"
            ]
        bought = state.score is not None and valid
        assert (bought, state.score.total if bought and state.score else 0) == (step["done"], step["reward"])
