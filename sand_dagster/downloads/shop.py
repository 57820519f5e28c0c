"""The file that WebShop's search engine indexes, made of the two published files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sand_dagster.downloads.checking import DownloadError
from sand_dagster.files import write_whole

_LONGEST_ID = 10
_NO_ATTRIBUTE = "DUMMY_ATTR"
_NO_PRICE = "$100.0"
_NOT_A_NUMBER = re.compile(r"[^\d.]")


def write_documents(path: Path, items: Path, instructions: Path) -> int:
    """Write documents.jsonl, as the published engine makes it from `items_shuffle*.json` and
    `items_ins_v2*.json`, with the fields that a shop shows and scores. Returns how many products there are.

    Raises:
        DownloadError: a file does not hold what the published one does.
    """
    try:
        raw: list[dict[str, Any]] = json.loads(items.read_bytes())
        attributes: dict[str, Any] = json.loads(instructions.read_bytes())
        documents = list(_documents(raw, attributes))
        if not documents:
            raise ValueError("there is no product")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DownloadError(
            f"{items}, {instructions}: not the published products and instructions: "
            f"{type(error).__name__}: {error}"
        ) from error

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(document) + "\n" for document in documents)

    write_whole(path, write)
    return len(documents)


def _documents(raw: list[dict[str, Any]], attributes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    seen = set()
    for item in raw:
        id = item["asin"]
        if id == "nan" or len(id) > _LONGEST_ID or id in seen:
            continue
        seen.add(id)
        product = _product(item, attributes.get(id, {}))
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in product["options"].items())
        shown = (product["Title"], product["Description"], product["BulletPoints"][0], options)
        yield {"id": id, "contents": " ".join(shown).lower(), "product": product}


def _product(item: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    features = item["small_description"]
    tag, prices = _price(item.get("pricing") or _NO_PRICE)
    return {
        "asin": item["asin"],
        "Title": item["name"],
        "Description": item["full_description"],
        "BulletPoints": features if isinstance(features, list) else [features],
        "options": {
            name.lower(): [choice["value"].strip().replace("/", " | ").lower() for choice in choices]
            for name, choices in (item["customization_options"] or {}).items()
            if choices is not None
        },
        "Attributes": described.get("attributes", [_NO_ATTRIBUTE]),
        "category": item["category"],
        "query": item["query"].lower().strip(),
        "product_category": item["product_category"],
        "Price": tag,
        "pricing": prices,
    }


def _price(text: str) -> tuple[str, list[float]]:
    """The price's tag and its one or two numbers."""
    prices = [float(_NOT_A_NUMBER.sub("", price)) for price in text.split("$")[1:]]
    if len(prices) == 1:
        return f"${prices[0]}", prices
    return f"${prices[0]} to ${prices[1]}", prices[:2]
