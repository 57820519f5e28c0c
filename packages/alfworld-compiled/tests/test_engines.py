"""The compiled engine gives exactly the stock engine's texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alfworld_compiled import CompiledEpisode, CompiledGame
from alfworld_compiled.bench.comparison import Tally, compare
from alfworld_compiled.stock import StockEpisode

WriteGame = Callable[..., Path]

_OLDER = (
    ('template :: "move {o} to {r}"', 'template :: "put {o} in/on {r}"'),
    ('template :: "use {o}"', 'template :: "toggle {o} {r}"'),
    ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
)


def _assert_same(path: Path, tmp_path: Path, steps: int) -> Tally:
    tally = Tally()
    compare(path, path.parent.name, seed=3, walk=steps, cache=tmp_path / "cache", tally=tally)
    assert tally.differences == []
    return tally


def test_a_walk_and_play_after_the_win(kitchen: Path, tmp_path: Path) -> None:
    tally = _assert_same(kitchen, tmp_path, 44)

    assert tally.wins == 1
    done = set(tally.verbs)
    assert {
        "go",
        "take",
        "move",
        "open",
        "close",
        "examine",
        "look",
        "inventory",
        "help",
        "(refused)",
    } <= done
    assert {"heat", "cool", "clean", "slice", "use"} & done


def test_every_action_and_what_it_changes(kitchen: Path, tmp_path: Path) -> None:
    stock, compiled = StockEpisode(kitchen), CompiledEpisode(CompiledGame.load(kitchen, tmp_path))
    commands = """go to desk 1|look|use desklamp 1|examine desklamp 1|use desklamp 1|examine desklamp 1
        examine desk 2|take bowl 1 from desk 1|take bowl 1 from desk 2|inventory
        examine bowl 1|go to countertop 1|move bowl 1 to countertop 1|take knife 1 from countertop 1
        slice apple 2 with knife 1
        go to sinkbasin 1|clean knife 1 with sinkbasin 1|move knife 1 to sinkbasin 1|go to countertop 1
        take apple 2 from countertop 1|examine apple 2|go to fridge 1|cool apple 2 with fridge 1
        examine apple 2|move apple 2 to fridge 1|open fridge 1|move apple 2 to fridge 1|look|help
        go to nowhere 1|GO TO DESK 1
        look  ||put apple 1 in/on fridge 1"""
    for command in commands.replace("\n", "|").split("|"):
        assert compiled.step(command) == stock.step(command), command
        assert compiled.admissible() == stock.admissible(), command
        assert compiled.won() == stock.won(), command


def test_the_older_grammar(write_game: WriteGame, shipped: dict[str, str], tmp_path: Path) -> None:
    grammar = shipped["grammar"]
    for new, old in _OLDER:
        assert new in grammar
        grammar = grammar.replace(new, old)
    walkthrough = ["go to countertop 1", "take apple 2 from countertop 1", "put apple 2 in/on countertop 1"]

    tally = _assert_same(write_game(grammar=grammar, walkthrough=walkthrough), tmp_path, 24)

    assert tally.verbs["put"] > 0


_LIFTS = {
    "pddl_domain": """(define (domain lift)
      (:requirements :adl :typing :derived-predicates)
      (:types floor thing - object lamp box - thing)
      (:predicates (at ?f - floor) (next ?a ?b - floor) (lit ?t - thing) (on ?t - thing ?f - floor) (dark))
      (:derived (dark) (forall (?l - lamp) (not (lit ?l))))
      (:action up :parameters (?a ?b - floor) :precondition (and (at ?a) (next ?a ?b))
        :effect (and (not (at ?a)) (at ?b)))
      (:action down :parameters (?a ?b - floor) :precondition (and (at ?b) (next ?a ?b) (not (dark)))
        :effect (and (at ?a) (not (at ?b))))
      (:action switch :parameters (?t - thing ?f - floor) :precondition (and (at ?f) (on ?t ?f))
        :effect (and (when (lit ?t) (not (lit ?t))) (when (not (lit ?t)) (lit ?t))))
      (:action peer :parameters (?f - floor) :precondition (at ?f) :effect (at ?f)))""",
    "pddl_problem": """(define (problem p) (:domain lift)
      (:objects f1 f2 f3 - floor lamp_bar_1 lamp_bar_2 - lamp box_bar_1 - box)
      (:init (at f1) (next f1 f2) (next f2 f3) (on lamp_bar_1 f1) (on lamp_bar_2 f2) (on box_bar_1 f2)
        (lit box_bar_1))
      (:goal (and (at f3) (dark) (not (lit box_bar_1)))))""",
    "grammar": '''grammar :: """{
        "intro": [{"rhs": "A lift.\\\\n#here#"}],
        "here": [{"condition": "at(f:floor)",
                  "rhs": "You see [{#thing# | at(f:floor) & on(t:thing, f:floor)}]."},
                 {"rhs": "Nowhere."}],
        "thing": [{"condition": "lit(t:thing)", "rhs": "a bright {t.name or t.id}"},
                  {"condition": "!lit(t:thing)", "rhs": "a dark {t.name + ' (' + t.type + ')'}"},
                  {"rhs": "{t.indefinite} {t}"}],
        "list_empty": [{"rhs": "nothing"}], "list_separator": [{"rhs": ", "}],
        "list_last_separator": [{"rhs": " and "}]
      }""";
      action up { template :: "up from {a.id}"; feedback :: "Up{t.name | on(t:thing, b:floor)}; #gone#"; }
      action down { template :: "down"; feedback :: "Down to {a.definite} {a.id}. #here#"; }
      action peer { template :: "look"; feedback :: "#here#"; }
      action switch { template :: "switch {t}"; feedback :: "Click.
  #here#"; }
    ''',
    "walkthrough": [
        "switch box 1",
        "switch lamp 1",
        "up from f1",
        "switch box 1",
        "down",
        "switch lamp 1",
        "up from f1",
    ],
}


def test_derived_facts_conditional_effects_and_subtypes(write_game: WriteGame, tmp_path: Path) -> None:
    tally = _assert_same(write_game(**_LIFTS), tmp_path, 40)

    assert tally.verbs["switch"] > 5 and tally.verbs["down"] > 0


def test_published_games(published_games: list[Path], tmp_path: Path) -> None:
    tally = Tally()
    for path in published_games:
        compare(path, str(path.parent), seed=3, walk=8, cache=tmp_path / "cache", tally=tally)

    assert tally.differences == []
    assert tally.wins == tally.games == len(published_games)
