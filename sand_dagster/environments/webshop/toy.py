"""A small generated catalogue, drawn with a seed, for tests and the experiment `toy-webshop`."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sand_dagster.environments.webshop.catalogue import Instruction, Product

PRODUCTS = 120

_KINDS = (
    ("shirt", "clothing", ("cotton", "long sleeve", "slim fit", "machine washable", "short sleeve")),
    ("lamp", "lighting", ("dimmable", "energy saving", "touch control", "wall mounted", "battery powered")),
    ("mug", "kitchen", ("dishwasher safe", "hand painted", "double walled", "stackable", "large handle")),
    (
        "desk",
        "furniture",
        ("solid wood", "height adjustable", "easy assembly", "scratch proof", "foldable"),
    ),
    (
        "backpack",
        "luggage",
        ("water proof", "padded", "laptop sleeve", "light weight", "hidden pocket"),
    ),
    (
        "candle",
        "decoration",
        ("soy wax", "lavender scent", "long burning", "smoke free", "vanilla scent"),
    ),
    ("blanket", "bedding", ("super soft", "fleece", "machine washable", "double sided", "heavy weight")),
    ("notebook", "office", ("hard cover", "dotted pages", "recycled paper", "elastic band", "lined pages")),
)
_MAKERS = ("Norvik", "Alder", "Bluefin", "Castellan", "Dovetail", "Elmwood", "Fennimore", "Greystone")
_SERIES = ("Classic", "Studio", "Harbor", "Meadow", "Summit", "Atlas", "Willow", "Ember")
_COLOURS = ("crimson", "cobalt", "saffron", "jade", "onyx", "pearl")
"""Without words of the published list of colours: with them, some goals could not be met in full."""
_SIZES = ("small", "medium", "large")
_SHOWN_FEATURES = 3


def toy_products(seed: int, count: int = PRODUCTS) -> dict[str, Product]:
    """`count` products of eight kinds; the same seed gives the same."""
    draw = random.Random(f"toy shop {seed}")
    products = [_product(number, draw) for number in range(count)]
    return {product.id: product for product in products}


def toy_instructions(products: Sequence[Product]) -> dict[str, list[Instruction]]:
    """For every product, the instruction of a shopper who wants it, and the attributes in it."""
    return {
        product.id: [
            Instruction(f"Find me {', '.join(product.attributes)} {product.query}", product.attributes)
        ]
        for product in products
    }


def toy_nouns(products: Sequence[Product]) -> dict[str, tuple[str, ...]]:
    """The nouns of each title: maker, series and kind."""
    return {product.id: tuple(product.title.lower().split()) for product in products}


def _product(number: int, draw: random.Random) -> Product:
    kind, category, pool = _KINDS[number % len(_KINDS)]
    features = tuple(draw.sample(pool, _SHOWN_FEATURES))
    title = f"{draw.choice(_MAKERS)} {draw.choice(_SERIES)} {kind.capitalize()}"
    options = {"color": tuple(sorted(draw.sample(_COLOURS, draw.randint(2, 3))))}
    if category in ("clothing", "bedding", "luggage"):
        options["size"] = tuple(size for size in _SIZES if size != draw.choice(_SIZES))
    price = draw.randrange(500, 9000) / 100
    description = " ".join(f"This {kind} is {feature}." for feature in features)
    offered = ", and ".join(f"{name}: {', '.join(values)}" for name, values in options.items())
    return Product(
        id=f"B{number:09}",
        title=title,
        description=description,
        features=features,
        options=options,
        attributes=features[:2],
        category=category,
        query=kind,
        product_category=f"Home › {category} › {kind}s",
        price_text=f"${price}",
        prices=(price,),
        text=f"{title} {description} {features[0]} {offered}".lower(),
    )
