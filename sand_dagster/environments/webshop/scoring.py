"""The published reward of a purchase: its kind, its attributes, its options and its price, in [0, 1]."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from rapidfuzz.fuzz import token_set_ratio
from rapidfuzz.utils import default_process

from sand_dagster.environments.webshop.catalogue import Asked, Catalogue, Goal, Product
from sand_dagster.environments.webshop.colours import COLOURS, colour_of

_ALIKE = 85
_SHARED_CATEGORIES = 2
_NO_NOUNS = 0.2


class Score(NamedTuple):
    """The reward of a purchase, and its parts; `options` is None if the goal asks for none."""

    total: float
    kind: float
    attributes: float
    options: float | None
    price: bool
    same_query: bool
    same_category: bool
    title: float


def score(catalogue: Catalogue, goal: Goal, product: Product, chosen: Collection[str]) -> Score:
    """The score of buying `product` with the values `chosen` of its options for `goal`."""
    wanted = catalogue.products[goal.product]
    same_query = product.query == wanted.query
    shared = set(_categories(product)) & set(_categories(wanted))
    same_category = len(shared) >= _SHARED_CATEGORIES
    title = _title(catalogue.nouns.get(product.id, ()), catalogue.nouns.get(wanted.id, ()))
    attributes = sum(_has_attribute(product, attribute) for attribute in goal.attributes)
    options = _matched_options(goal.options, chosen)
    affordable = catalogue.prices[product.id] <= goal.most
    asked = len(goal.attributes) + len(goal.options) + 1
    kind = _kind(same_query or same_category, title)
    return Score(
        total=(attributes + options + affordable) / asked * kind,
        kind=kind,
        attributes=attributes / len(goal.attributes) if goal.attributes else 0.0,
        options=options / len(goal.options) if goal.options else None,
        price=affordable,
        same_query=same_query,
        same_category=same_category,
        title=title,
    )


def _kind(same: bool, title: float) -> float:
    if title == 0:
        return 0.0
    if title < 0.1:
        return 0.1
    return 1.0 if same or title > _NO_NOUNS else 0.5


def _categories(product: Product) -> list[str]:
    return [part.strip() for part in product.product_category.split("›")]


def _title(bought: tuple[str, ...], wanted: tuple[str, ...]) -> float:
    return len(set(bought) & set(wanted)) / len(wanted) if wanted else _NO_NOUNS


def _has_attribute(product: Product, attribute: str) -> bool:
    return any(_alike(own, attribute) for own in product.attributes) or any(
        attribute in text.lower() for text in (product.title, " ".join(product.features), product.description)
    )


def _matched_options(asked: Collection[Asked], chosen: Collection[str]) -> int:
    """How many options of a goal were chosen.

    As in the published engine, a chosen value, and one that a person asked for, is compared only by its first
    colour word, if it has one; an option with a name as the pair of name and value. So some goals cannot be
    met in full.
    """
    values = [colour_of(value) for value in chosen]
    return sum(any(_alike(value, _compared(option)) for value in values) for option in asked)


def _compared(option: Asked) -> str:
    if not option.name:
        return colour_of(option.value)
    return next((colour for colour in COLOURS if colour in option), str(tuple(option)))


def _alike(one: str, other: str) -> bool:
    return round(token_set_ratio(one, other, processor=default_process)) > _ALIKE
