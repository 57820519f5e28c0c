"""The shop as a text game: immutable states, and the effect of an action."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from sand_dagster.environments.webshop.catalogue import Catalogue, Goal
from sand_dagster.environments.webshop.scoring import Score, score
from sand_dagster.environments.webshop.search import SearchIndex

Page = Literal["start", "results", "item", "description", "features", "reviews", "done"]

_ACTION = re.compile(r"(.+)\[(.+)\]")
_BREAKS = re.compile(r"<a>( .*)?|<c>")
"""Searches that make the published engine fail: here they are invalid."""
_SEPARATOR = " [SEP] "
_BACK, _NEXT, _PREVIOUS, _BUY = "back to search", "next >", "< prev", "buy now"
_SUB_PAGES: tuple[Page, ...] = ("description", "features", "reviews")
_ON_A_PAGE = 10


@dataclass(frozen=True, slots=True)
class State:
    """A shopper's position. `results` are those of the last search, `page_number` counts from 1."""

    page: Page = "start"
    results: tuple[str, ...] = ()
    page_number: int = 1
    product: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    score: Score | None = None


class Turn(NamedTuple):
    """The state after an action, and whether the action was one of those that the page offers."""

    state: State
    valid: bool


class Shop:
    """A catalogue with its search engine. It has no state of a shopper, so all episodes may share it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._index = SearchIndex([(product.id, product.text) for product in catalogue.products.values()])
        self._by_id = {product.lower(): product for product in catalogue.products}

    def act(self, state: State, goal: Goal, action: str) -> Turn:
        """The result of `search[words]` or `click[what]` in `state`; anything else changes nothing."""
        match = _ACTION.match(action)
        name, argument = (match[1], match[2].lower()) if match else ("", "")
        if name == "search" and not _BREAKS.fullmatch(argument):
            return Turn(State("results", tuple(self._search(argument))), True)
        if name == "click" and argument in self.clickables(state):
            return Turn(self._click(state, goal, argument), True)
        return Turn(state, False)

    def clickables(self, state: State) -> list[str]:
        """What can be clicked on the page, in the page's order."""
        match state.page:
            case "start" | "done":
                return []
            case "results":
                turning = [_PREVIOUS, _NEXT] if state.page_number > 1 else [_NEXT]
                return [_BACK, *turning, *(product.lower() for product in _shown(state))]
            case "item":
                options = self.catalogue.products[state.product].options
                return [
                    _BACK,
                    _PREVIOUS,
                    *_SUB_PAGES,
                    _BUY,
                    *(v for values in options.values() for v in values),
                ]
            case _:
                return [_BACK, _PREVIOUS]

    def observation(self, state: State, goal: Goal) -> str:
        """The page as the published text mode shows it."""
        if state.page == "done":
            return _SEPARATOR.join(_receipt(state))
        opening = ["Instruction:", goal.instruction]
        if state.page == "start":
            return _SEPARATOR.join(["WebShop", *opening, "Search"])
        return _SEPARATOR.join([*opening, "Back to Search", *(part.strip() for part in self._parts(state))])

    def _parts(self, state: State) -> Iterator[str]:
        if state.page == "results":
            yield f"Page {state.page_number} (Total results: {len(state.results)})"
            yield from ["< Prev", "Next >"] if state.page_number > 1 else ["Next >"]
            for product in map(self.catalogue.products.__getitem__, _shown(state)):
                yield from (product.id, product.title, product.price_text)
            return
        yield "< Prev"
        product = self.catalogue.products[state.product]
        match state.page:
            case "description":
                yield from filter(str.strip, [product.description])
            case "features":
                # A blank feature shows as an empty line, unless it breaks the line itself.
                yield from (text for text in product.features if text.strip() or "\n" not in text)
            case "item":
                for name, values in product.options.items():
                    yield from (name, *values)
                yield from (product.title, f"Price: {product.price_text}", "Rating: N.A.")
                yield from ("Description", "Features", "Reviews", "Buy Now")

    def _click(self, state: State, goal: Goal, what: str) -> State:
        if what == _BACK:
            return State()
        if what == _PREVIOUS:
            return _previous(state)
        if what == _NEXT:
            return replace(state, page_number=state.page_number + 1)
        if state.page == "results":
            return replace(state, page="item", product=self._by_id[what], options={})
        product = self.catalogue.products[state.product]
        if what == _BUY:
            return replace(
                state, page="done", score=score(self.catalogue, goal, product, state.options.values())
            )
        for page in _SUB_PAGES:
            if what == page:
                return replace(state, page=page)
        name = next(name for name, values in product.options.items() if what in values)
        return replace(state, options={**state.options, name.lower(): what})

    def _search(self, query: str) -> list[str]:
        words = query.split(" ")
        rest = " ".join(words[1:])
        products = self.catalogue.products.values()
        match words[0]:
            case "<q>":
                return [product.id for product in products if product.query == rest]
            case "<c>" if len(words) > 1:
                return [product.id for product in products if product.category == words[1]]
            case _:
                return self._index.search(query)


def _shown(state: State) -> tuple[str, ...]:
    return state.results[(state.page_number - 1) * _ON_A_PAGE : state.page_number * _ON_A_PAGE]


def _previous(state: State) -> State:
    if state.page == "results":
        return replace(state, page_number=state.page_number - 1)
    if state.page == "item":
        return replace(state, page="results", product="", options={})
    return replace(state, page="item")


def _receipt(state: State) -> Iterator[str]:
    assert state.score is not None
    yield from (
        "Thank you for shopping with us!",
        "Your code:",
        "None",
        "(Paste it in your MTurk interface.)",
    )
    yield from (
        "Purchased",
        "asin",
        state.product,
        "options",
        json.dumps(dict(sorted(state.options.items()))),
    )
    for name in ("attrs", "category", "query", "product category"):
        yield from (name, "None")
    yield from ("Target", "asin", "options", "attrs", "price upper", "instuction text", "category")
    yield from ("product category", "query", "Goal", "None", "Reward", "Your score (min 0.0, max 1.0)")
    yield from (str(state.score.total), "Reward Details", "None")
