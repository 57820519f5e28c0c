"""Games have all six types, walkthrough and expert win them, equal seeds give equal games, rooms are
separate."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from alfworld_compiled.games import kind_of
from sand_dagster.ids import digest
from toy_alfworld.games.catalogue import OPENABLE, ROOM_KINDS, can_contain
from toy_alfworld.games.game import PREPARATIONS, TASK_KINDS, Game, TaskKind
from toy_alfworld.games.generation import STEP_LIMIT, make_game, possible_kinds
from toy_alfworld.games.playing import expert_seed, play
from toy_alfworld.games.rooms import (
    FEWEST_RECEPTACLES,
    MOST_RECEPTACLES,
    ROOMS_OF_A_KIND,
    Split,
    rooms,
)
from toy_alfworld.games.simulation import Simulation

SPLITS: tuple[Split, ...] = ("train", "seen", "unseen")
_PRINT_DIGEST = (
    "import json, sys\n"
    "from toy_alfworld.games.game import TASK_KINDS\n"
    "from toy_alfworld.games.generation import make_game\n"
    "from toy_alfworld.games.playing import play\n"
    "from sand_dagster.ids import digest\n"
    "games = [make_game(3, 'unseen', kind) for kind in TASK_KINDS]\n"
    "plays = [repr(play(g, 30, 'x', skill=0.5)) for g in games]\n"
    "print(digest([json.dumps(g.file()) for g in games], [g.path for g in games], plays))\n"
)


def some_games(count: int = 4) -> list[Game]:
    return [make_game(seed, split, kind) for seed in range(count) for split in SPLITS for kind in TASK_KINDS]


@pytest.mark.parametrize("kind", TASK_KINDS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_type_of_task_is_made_in_every_split(split: Split, kind: TaskKind) -> None:
    game = make_game(11, split, kind)
    assert game.goal.kind == kind and kind_of(game.path) == kind
    assert game.room.held_out == (split == "unseen")
    assert FEWEST_RECEPTACLES <= len(game.room.receptacles) <= MOST_RECEPTACLES
    assert 8 <= len(game.places) <= 16
    assert set(game.file()) == {"pddl_domain", "grammar", "pddl_problem", "solvable", "walkthrough"}


def test_walkthroughs_and_experts_win_and_no_game_is_won_before() -> None:
    lengths = []
    for game in some_games():
        simulation = Simulation(game)
        assert not simulation.won()
        results = [simulation.step(command) for command in game.walkthrough]
        assert all(result.valid for result in results)
        assert [result.done for result in results].index(True) == len(results) - 1
        played = play(game, STEP_LIMIT, expert_seed(game.trial))
        assert played.reward == 1.0
        assert len(played.steps) >= len(game.walkthrough)
        lengths.append(len(played.steps))
    assert 6 < sum(lengths) / len(lengths) < 15
    assert max(lengths) > 12


def test_equal_seeds_give_equal_bytes_whatever_the_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _PRINT_DIGEST],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "77")
    }
    assert len(outputs) == 1


def test_seeds_and_splits_give_different_games() -> None:
    games = some_games()
    assert len({digest(game.file()) for game in games}) == len(games)
    assert len({game.path for game in games}) == len(games)


@pytest.mark.parametrize("kind", ROOM_KINDS)
def test_held_out_rooms_equal_no_room_of_training(kind: str) -> None:
    training, held_out = rooms(kind, False), rooms(kind, True)
    assert len(training) == ROOMS_OF_A_KIND[False] and len(held_out) == ROOMS_OF_A_KIND[True]
    layouts = [room.layout for room in (*training, *held_out)]
    assert len(set(layouts)) == len(layouts)
    assert len({room.scene for room in (*training, *held_out)}) == len(layouts)
    openable = [r for room in training for r in room.receptacles if room.types[r] in OPENABLE]
    opened = [r for room in training for r in room.opened]
    assert 0 < len(opened) < len(openable) / 2


def test_a_pool_from_the_other_side_is_refused() -> None:
    with pytest.raises(ValueError, match="other side"):
        make_game(0, "seen", "pick_heat_then_place_in_recep", rooms("kitchen", True))
    with pytest.raises(ValueError, match="no room of the pool suits"):
        make_game(0, "seen", "pick_heat_then_place_in_recep", rooms("bedroom", False))
    with pytest.raises(ValueError, match="within 1 steps"):
        make_game(0, "train", "pick_heat_then_place_in_recep", step_limit=1)


def test_what_is_asked_for_can_be_done_by_the_rules() -> None:
    for game in some_games():
        if not game.goal.looks:
            assert can_contain(game.goal.target, game.goal.thing)
            assert game.goal.target in game.room.types.values()


def test_with_odd_rules_other_appliances_are_needed() -> None:
    for kind, verb in PREPARATIONS.items():
        usual, odd = (make_game(1, "unseen", kind, rules=rules) for rules in ("usual", "odd"))
        assert odd.appliances[verb] in odd.room.types.values()
        assert odd.trial != usual.trial
        place = next(step for step in odd.walkthrough if step.startswith(verb)).split(" with ")[1]
        assert odd.room.types[place] == odd.appliances[verb] != usual.appliances[verb]
    bathrooms, clean = rooms("bathroom", False), "pick_clean_then_place_in_recep"
    assert clean in possible_kinds(bathrooms) and clean not in possible_kinds(bathrooms, "odd")


def test_things_lie_mostly_where_common_sense_says() -> None:
    found = {"Fridge": 0, "Drawer": 0, "elsewhere": 0}
    for seed in range(150):
        game = make_game(seed, "train", "pick_cool_then_place_in_recep")
        for thing, place in game.places.items():
            if game.types[thing] in ("Egg", "Lettuce"):
                kind = game.room.types[place]
                found[kind if kind in found else "elsewhere"] += 1
    assert found["Fridge"] > found["elsewhere"] > 0
    assert found["Drawer"] == 0
