"""The expert reads the same texts as the agent, acts from any point, and makes mistakes as often as
configured."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from sand_dagster.prompts.figures import is_deliberation
from toy_alfworld.games.belief import parse_goal
from toy_alfworld.games.expert import Expert
from toy_alfworld.games.game import TASK_KINDS, Game, Goal
from toy_alfworld.games.generation import make_game
from toy_alfworld.games.mistakes import make_mistake
from toy_alfworld.games.playing import play
from toy_alfworld.games.simulation import Simulation


def games(count: int = 12) -> list[Game]:
    return [make_game(seed, "train", TASK_KINDS[seed % len(TASK_KINDS)]) for seed in range(count)]


def test_goals_are_read_off_every_wording() -> None:
    sentences = set()
    for seed in range(12):
        for kind in TASK_KINDS:
            game = make_game(seed, "unseen", kind)
            sentences.add(game.sentence.split()[0] + kind)
            assert parse_goal(Simulation(game).instruction) == game.goal
    assert len(sentences) > len(TASK_KINDS)
    assert parse_goal("…\n\nYour task is to: put a toiletpaper in toiletpaperhanger.") == Goal(
        "pick_and_place_simple", "ToiletPaper", "ToiletPaperHanger"
    )
    with pytest.raises(ValueError, match="names no task"):
        parse_goal("You are in the middle of a room.\n\nYour task is to: juggle three apples.")


def test_its_belief_is_true_of_the_world() -> None:
    for game in games():
        simulation = Simulation(game)
        expert = Expert(simulation.instruction, seed=game.trial, skill=0.7)
        for _ in range(30):
            turn = expert.act()
            expert.observe(turn.action, simulation.step(turn.action).observation)
            belief = expert.belief
            assert belief.location == simulation.location and belief.holding == simulation.holding
            for receptacle, things in belief.contents.items():
                assert {t for t, p in simulation.places.items() if p == receptacle} == set(things)
            assert belief.achieved() == simulation.won()


def test_replaying_its_steps_leads_to_the_same_next_turn() -> None:
    for game in games():
        played = play(game, 30, seed=5, skill=0.6)
        for cut in range(len(played.steps)):
            expert = Expert(played.instruction, seed=5, skill=0.6)
            expert.replay(played.steps[:cut])
            assert expert.act() == expert.act() == played.turns[cut]


def test_it_takes_over_from_a_poor_player_and_wins() -> None:
    won = 0
    for game in games():
        bad = play(game, 8, seed=1, skill=0.0)
        simulation = Simulation(game)
        expert = Expert(simulation.instruction, seed=2)
        for step in bad.steps:
            assert simulation.step(step.action).observation == step.observation
        expert.replay(bad.steps)
        for _ in range(40):
            turn = expert.act()
            result = simulation.step(turn.action)
            expert.observe(turn.action, result.observation)
            if result.done:
                break
        won += result.done
    assert won == len(games())


def test_skill_decides_how_often_it_wins_and_errs() -> None:
    rates, shares = [], []
    for skill in (1.0, 0.8, 0.5, 0.2):
        plays = [play(game, 30, seed=game.trial, skill=skill) for game in games(48)]
        rates.append(sum(p.reward for p in plays) / len(plays))
        slips = [turn.mistake for p in plays for turn in p.turns]
        shares.append(sum(mistake is not None for mistake in slips) / len(slips))
        assert len(set(slips)) > 8 or skill > 0.7
    assert rates[0] == 1.0 and shares[0] == 0.0
    assert shares == sorted(shares) and shares[-1] > 0.6
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.3


def test_what_a_confused_player_does_is_refused() -> None:
    refused: Counter[str] = Counter()
    for game in games(48):
        simulation = Simulation(game)
        expert = Expert(simulation.instruction, seed=game.trial)
        for step in play(game, 30, seed=game.trial).steps:
            for name in ("stays", "nowhere", "wrong tool", "elsewhere", "no lamp", "opens again"):
                made = make_mistake(name, expert.belief, expert.intend(), Random(name))
                if made is not None:
                    result = simulation.fork().step(made.action)
                    right = name in ("no lamp", "wrong tool") and result.valid
                    assert right or not result.valid, (name, made.action)
                    refused[name] += not result.valid
            simulation.step(step.action)
            expert.observe(step.action, step.observation)
    assert min(refused.values()) > 0 and len(refused) == 6


def test_thoughts_are_short_varied_and_speak_of_what_is_there() -> None:
    turns = [turn for game in games(48) for turn in play(game, 30, seed=game.trial).turns]
    assert all(0 < len(turn.thought.split()) <= 40 for turn in turns)
    assert not any("{" in turn.thought or "  " in turn.thought or "\n" in turn.thought for turn in turns)
    templates = {"".join(c for c in turn.thought if not c.isdigit()) for turn in turns}
    assert len(templates) > len(turns) / 2
    assert not any(is_deliberation(turn.thought) for turn in turns)


def test_a_receptacle_within_reach_is_looked_at_when_going_there_is_refused() -> None:
    expert = Expert(
        "You are in the middle of a room. Looking quickly around you, you see a desk 1.\n\n"
        "Your task is to: put a pen in drawer."
    )
    expert.observe("go to desk 1", "Nothing happens.")
    assert expert.act().action == "examine desk 1"
    expert.observe("examine desk 1", "On the desk 1, you see a pen 1.")
    assert expert.act().action == "take pen 1 from desk 1"
