"""Fixtures for pytest: a hand-made game over alfworld's domain and grammar, and published games.

A `conftest.py` imports them with `from alfworld_compiled.testing import *`.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from alfworld_compiled.games import GAME_FILE

GAME = "train/pick_heat_then_place_in_recep-Apple-None-Fridge-1/trial_1/game.tw-pddl"

_PROBLEM = """
(define (problem kitchen) (:domain alfred)
(:objects
  agent1 - agent
  loc_bar_0 loc_bar_1 loc_bar_2 loc_bar_3 loc_bar_4 loc_bar_5 - location
  CounterTop_bar_1 Fridge_bar_1 Microwave_bar_1 Sink_bar_1_bar_SinkBasin Desk_bar_1
  Desk_bar_2 - receptacle
  Apple_bar_1 Apple_bar_2 Knife_bar_1 DeskLamp_bar_1 Bowl_bar_1 - object
  AppleType KnifeType DeskLampType BowlType - otype
  CounterTopType FridgeType MicrowaveType SinkBasinType DeskType - rtype)
(:init
  (atLocation agent1 loc_bar_0)
  (receptacleType CounterTop_bar_1 CounterTopType) (receptacleAtLocation CounterTop_bar_1 loc_bar_1)
  (receptacleType Fridge_bar_1 FridgeType) (receptacleAtLocation Fridge_bar_1 loc_bar_2)
  (receptacleType Microwave_bar_1 MicrowaveType) (receptacleAtLocation Microwave_bar_1 loc_bar_3)
  (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType)
  (receptacleAtLocation Sink_bar_1_bar_SinkBasin loc_bar_4)
  (receptacleType Desk_bar_1 DeskType) (receptacleAtLocation Desk_bar_1 loc_bar_5)
  (receptacleType Desk_bar_2 DeskType) (receptacleAtLocation Desk_bar_2 loc_bar_5)
  (openable Fridge_bar_1) (openable Microwave_bar_1)
  (objectType Apple_bar_1 AppleType) (inReceptacle Apple_bar_1 CounterTop_bar_1)
  (objectAtLocation Apple_bar_1 loc_bar_1)
  (objectType Apple_bar_2 AppleType) (inReceptacle Apple_bar_2 Fridge_bar_1)
  (objectAtLocation Apple_bar_2 loc_bar_2)
  (objectType Knife_bar_1 KnifeType) (inReceptacle Knife_bar_1 CounterTop_bar_1)
  (objectAtLocation Knife_bar_1 loc_bar_1)
  (objectType DeskLamp_bar_1 DeskLampType) (inReceptacle DeskLamp_bar_1 Desk_bar_1)
  (objectAtLocation DeskLamp_bar_1 loc_bar_5)
  (objectType Bowl_bar_1 BowlType) (isReceptacleObject Bowl_bar_1) (inReceptacle Bowl_bar_1 Desk_bar_2)
  (objectAtLocation Bowl_bar_1 loc_bar_5)
  (pickupable Apple_bar_1) (pickupable Apple_bar_2) (pickupable Knife_bar_1) (pickupable Bowl_bar_1)
  (heatable Apple_bar_1) (heatable Apple_bar_2) (coolable Apple_bar_1) (coolable Apple_bar_2)
  (cleanable Apple_bar_1) (cleanable Apple_bar_2) (cleanable Knife_bar_1) (cleanable Bowl_bar_1)
  (sliceable Apple_bar_1) (sliceable Apple_bar_2)
  (toggleable DeskLamp_bar_1) (isOn DeskLamp_bar_1)
  (canContain CounterTopType AppleType) (canContain CounterTopType KnifeType)
  (canContain CounterTopType BowlType)
  (canContain FridgeType AppleType) (canContain MicrowaveType AppleType) (canContain DeskType BowlType)
  (canContain SinkBasinType AppleType) (canContain SinkBasinType KnifeType)
  (= (total-cost) 0))
(:goal (and
  (exists (?r - receptacle) (exists (?o - object)
    (and (heatable ?o) (objectType ?o AppleType) (receptacleType ?r FridgeType) (isHot ?o)
      (inReceptacle ?o ?r))))
  (forall (?re - receptacle) (not (opened ?re))))))
"""

WALKTHROUGH = [
    "go to countertop 1",
    "take apple 2 from countertop 1",
    "go to microwave 1",
    "heat apple 2 with microwave 1",
    "go to fridge 1",
    "open fridge 1",
    "move apple 2 to fridge 1",
    "close fridge 1",
]

WriteGame = Callable[..., Path]

__all__ = ["kitchen", "published_games", "shipped", "write_game"]


@pytest.fixture(scope="session")
def shipped() -> dict[str, str]:
    """The domain and the grammar that alfworld ships."""
    from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH

    return {
        "pddl_domain": Path(ALFRED_PDDL_PATH).read_text(),
        "grammar": Path(ALFRED_TWL2_PATH).read_text().replace("UNKNOWN GOAL", "put a hot apple in fridge"),
        "pddl_problem": _PROBLEM,
    }


@pytest.fixture
def write_game(tmp_path: Path, shipped: dict[str, str]) -> WriteGame:
    """Writes the kitchen, with some of its parts replaced, as a game inside `tmp_path/games`."""

    def write(game: str = GAME, **parts: object) -> Path:
        path = tmp_path / "games" / game
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**shipped, "solvable": True, "walkthrough": WALKTHROUGH, **parts}))
        return path

    return write


@pytest.fixture
def kitchen(write_game: WriteGame) -> Path:
    return write_game()


@pytest.fixture(scope="session")
def published_games(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Published games: two, or as many as ALFWORLD_COMPILED_TEST_GAMES says; skips if there are none.

    They come from ALFWORLD_COMPILED_GAMES, a folder or a tar archive, else from `$ALFWORLD_DATA/json_2.1.1`,
    the folder of alfworld-download.
    """
    count = int(os.environ.get("ALFWORLD_COMPILED_TEST_GAMES", "2"))
    data = Path(os.environ.get("ALFWORLD_DATA", Path.home() / ".cache" / "alfworld"))
    place = Path(os.environ.get("ALFWORLD_COMPILED_GAMES", data / "json_2.1.1"))
    if place.is_file():
        return _unpacked(place, tmp_path_factory.mktemp("published"), count)
    found = list(islice(sorted(place.glob(f"**/{GAME_FILE}")), count)) if place.is_dir() else []
    if not found:
        pytest.skip(f"no published games in {place} (set ALFWORLD_DATA or ALFWORLD_COMPILED_GAMES)")
    return found


def _unpacked(archive: Path, folder: Path, count: int) -> list[Path]:
    found: list[Path] = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if len(found) == count:
                break
            if member.isfile() and Path(member.name).name == GAME_FILE:
                tar.extract(member, folder, filter="data")
                found.append(folder / member.name)
    return found
