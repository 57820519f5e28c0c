"""A scripted shopper: searches for what the instruction names, opens the first product that it can afford and
that has the options, chooses them, and buys.

It knows no more than an agent does: the instruction and the pages. It compares no attributes: the order of
the search decides.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

from sand_dagster.interfaces import Environment
from sand_dagster.types import Step

_INSTRUCTION = re.compile(
    r"Instruction: \[SEP\] (?:Find me )?(?P<what>.+?)(?: with (?P<options>[^\[\]:]+: .+?))?"
    r"(?:, and price lower than (?P<most>[\d.]+) dollars)? \[SEP\]"
)
_OPTION = re.compile(r"([^:]+): (.+)")
_SEPARATOR = " [SEP] "
_OPENED = 3
"""It opens at most this many products, and buys the last of them."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The content of an instruction: the words to search for, the values of options, the highest price."""

    what: str
    options: tuple[str, ...]
    most: float


class _Result(NamedTuple):
    id: str
    title: str
    price: float


def read_wish(page: str) -> Wish:
    """The content of the instruction on a page.

    Raises:
        ValueError: the page has no instruction.
    """
    found = _INSTRUCTION.search(page)
    if found is None:
        raise ValueError(f"the page has no instruction: {page[:200]!r}")
    parts = (found["options"] or "").split(", and ")
    values = tuple(option[2] for part in parts if (option := _OPTION.fullmatch(part)))
    return Wish(found["what"], values, float(found["most"] or "inf"))


def shop(environment: Environment, page: str, step_limit: int) -> tuple[list[Step], float]:
    """Play the task that `environment` has open, from its first `page`; returns the steps and the reward."""
    steps: list[Step] = []
    reward = 0.0
    turns = _turns(read_wish(page))
    thought, action = next(turns)
    while len(steps) < step_limit:
        result = environment.step(action)
        steps.append(Step(thought, action, result.observation))
        reward = result.reward
        if result.done:
            break
        try:
            thought, action = turns.send(result.observation)
        except StopIteration:
            break
    return steps, reward


def _turns(wish: Wish) -> Generator[tuple[str, str], str, None]:
    """Yields thought and action, and receives the next page."""
    words = " ".join([wish.what, *wish.options])
    page = yield f"I want {wish.what}. I search for that and the options asked for.", f"search[{words}]"
    opened: set[str] = set()
    while results := [result for result in _results(page, wish) if result.id not in opened]:
        best = results[0]
        opened.add(best.id)
        page = yield (
            f"{best.title} for ${best.price} is the first that I can afford. I look at it.",
            f"click[{best.id.lower()}]",
        )
        offered = {part.lower() for part in page.split(_SEPARATOR)}
        missing = [value for value in wish.options if value not in offered]
        if missing and len(opened) < _OPENED and len(results) > 1:
            page = yield f"It does not come in {missing[0]}. I go back to the results.", "click[< prev]"
            continue
        for value in wish.options:
            if value in offered:
                yield f"The instruction asks for {value}. I choose it.", f"click[{value}]"
        yield "It has what is asked for, as far as the shop offers it. I buy it.", "click[buy now]"
        return


def _results(page: str, wish: Wish) -> list[_Result]:
    """The products of a page of results that can be afforded, in the order of the search."""
    parts = page.split(_SEPARATOR)
    listed = parts[parts.index("Next >") + 1 :]
    triples = zip(listed[::3], listed[1::3], listed[2::3], strict=False)
    results = [_Result(id_, title, _lowest(price)) for id_, title, price in triples]
    return [result for result in results if result.price <= wish.most]


def _lowest(price: str) -> float:
    return float(price.split(" to ")[0].removeprefix("$"))
