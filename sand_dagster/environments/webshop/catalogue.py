"""The shop's products and the shoppers' goals, as the published engine makes them from its files."""

from __future__ import annotations

import itertools
import json
import lzma
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

_PRICE_RANGE = tuple(float(bound) for bound in range(10, 1000, 10))
_NO_BOUND = 1_000_000.0
_SHUFFLE_SEED = 233
_NO_PRICE = 100.0
_GET = "see docs/webshop.md for the files and where to put them"


class CatalogueError(ValueError):
    """A file of the shop is missing or cannot be read. The message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product. `text` is what searches look in; `price_text` is the tag, which may name a range."""

    id: str
    title: str
    description: str
    features: tuple[str, ...]
    options: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...]
    category: str
    query: str
    product_category: str
    price_text: str
    prices: tuple[float, ...]
    text: str


class Instruction(NamedTuple):
    """What a shopper wants of a product, before the highest price is drawn.

    `options` are the values that a person asked for; None stands for a goal for each combination of the
    product's options.
    """

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] | None = None


class Asked(NamedTuple):
    """An option that a goal asks for. A person names only the value: `name` is then empty."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Goal:
    """What a shopper wants: the task's instruction, and the criteria of the score.

    `product` is the product that the goal was made from, `most` the highest price, in dollars.
    """

    number: int
    product: str
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[Asked, ...]
    most: float


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Products in the file's order, the price of each, the goals, and the nouns of each title.

    `nouns` are the nouns and proper nouns of the titles, in order and with repetitions, which the reward
    compares.
    """

    products: Mapping[str, Product]
    prices: Mapping[str, float]
    goals: Sequence[Goal]
    nouns: Mapping[str, tuple[str, ...]]


def read_products(path: Path) -> dict[str, Product]:
    """The products of a file of JSON lines `{"id", "contents", "product"}`, which may be compressed (.xz).

    Raises:
        CatalogueError: it is missing, or a line cannot be read.
    """
    products: dict[str, Product] = {}
    for number, line in enumerate(_lines(path), start=1):
        try:
            product = _product(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise CatalogueError(
                f"{path}, line {number}: not a product: {type(error).__name__}: {error}; {_GET}"
            ) from error
        products[product.id] = product
    if not products:
        raise CatalogueError(f"{path} holds no product; {_GET}")
    return products


def read_instructions(path: Path) -> dict[str, list[Instruction]]:
    """The instructions by product, of one of the two published files.

    `items_ins_v2*.json` has one for a product, `items_human_ins.json` a list of those that people wrote. As
    in the published engine, one of a person without attributes is left out.

    Raises:
        CatalogueError: it is missing or malformed.
    """
    try:
        found: dict[str, Any] = json.loads(b"".join(_lines(path)))
        return {product: list(_instructions(entry)) for product, entry in found.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CatalogueError(
            f"{path}: not the published file of instructions: {type(error).__name__}: {error}; {_GET}"
        ) from error


def _instructions(entry: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Iterator[Instruction]:
    if isinstance(entry, Mapping):
        if entry.get("instruction") is not None:
            yield Instruction(_sentence(entry), tuple(map(str, entry["instruction_attributes"])))
        return
    for each in entry:
        if each["instruction_attributes"]:
            attributes, options = each["instruction_attributes"], each["instruction_options"]
            yield Instruction(_sentence(each), tuple(map(str, attributes)), tuple(map(str, options)))


def _sentence(entry: Mapping[str, Any]) -> str:
    return str(entry["instruction"]).strip(".")


def read_nouns(path: Path) -> dict[str, tuple[str, ...]]:
    """The nouns of each title: a JSON object of lists by product.

    Raises:
        CatalogueError: it is missing or malformed.
    """
    try:
        found = json.loads(b"".join(_lines(path)))
        found = found.get("nouns", found)
        return {str(product): tuple(map(str, nouns)) for product, nouns in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise CatalogueError(
            f"{path}: expected a JSON object with a list of nouns for each product: {error}; {_GET}"
        ) from error


def drawn_prices_and_goals(
    products: Mapping[str, Product], instructions: Mapping[str, Sequence[Instruction]], seed: int
) -> tuple[dict[str, float], list[Goal]]:
    """The price of each product, and the goals in their order; `seed` draws both, in the published order.

    A product with two prices costs something between them. The goals of an instruction ask for a price below
    one of the next four multiples of ten dollars, if there are two or more.
    """
    draw = random.Random(seed)
    prices = {product.id: _price(product, draw) for product in products.values()}
    goals: list[Goal] = []
    for product in products.values():
        for text, attributes, values in instructions.get(product.id, ()):
            bounds = [bound for bound in _PRICE_RANGE if bound > prices[product.id]][:4]
            most = sorted(draw.sample(bounds, 2))[1] if len(bounds) > 1 else _NO_BOUND
            below = f", and price lower than {most:.2f} dollars" if most < _NO_BOUND else ""
            persons = None if values is None else tuple(Asked("", value) for value in values)
            for options in _combinations(product.options) if persons is None else [persons]:
                asked = ", and ".join(f"{name}: {value}" for name, value in options if name)
                shown = f"{text}{' with ' if asked else ''}{asked}{below}"
                goals.append(Goal(len(goals), product.id, shown, attributes, options, most))
    order = list(range(len(goals)))
    random.Random(_SHUFFLE_SEED).shuffle(order)
    return prices, [replace(goals[place], number=number) for number, place in enumerate(order)]


def _price(product: Product, draw: random.Random) -> float:
    match product.prices:
        case (low, high):
            return draw.uniform(low, high)
        case (price, *_):
            return price
        case _:
            return _NO_PRICE


def _combinations(options: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[Asked, ...]]:
    names = sorted(options)
    for values in itertools.product(*(options[name] for name in names)):
        yield tuple(map(Asked, names, values))


def _product(line: Mapping[str, Any]) -> Product:
    stored = line["product"]
    return Product(
        id=str(line["id"]),
        title=str(stored["Title"]),
        description=str(stored["Description"]),
        features=tuple(map(str, stored["BulletPoints"])),
        options={str(name): tuple(map(str, values)) for name, values in stored["options"].items()},
        attributes=tuple(map(str, stored["Attributes"])),
        category=str(stored["category"]),
        query=str(stored["query"]),
        product_category=str(stored["product_category"]),
        price_text=str(stored["Price"]),
        prices=tuple(map(float, stored["pricing"])),
        text=str(line["contents"]),
    )


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
            yield from file
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}; {_GET}") from error
