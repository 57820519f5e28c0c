"""Untrusted game files cannot run code, use up the machine or leave the folder; refusals name the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from alfworld_compiled import CompiledGame, UnsupportedGame
from alfworld_compiled.compiling import compile_ahead, open_program
from alfworld_compiled.expressions import Entity, evaluate, read_expression
from alfworld_compiled.games import GameError, locate, read_game
from alfworld_compiled.limits import Limits

WriteGame = Callable[..., Path]


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch owned')",
        "o.__class__",
        "o.name.__class__.__mro__",
        "o.name * 999999999",
        "open('/etc/passwd').read()",
        "[x for x in o.name]",
        "lambda: 1",
        "o.name % o.name",
        "f'{o.name}'",
        "context",
        "o + o.name",
        "(" * 500 + "o.name" + ")" * 500,
        "o.name +" * 5000 + "o.name",
        "1",
        "",
    ],
)
def test_an_expression_that_could_do_more_is_refused(expression: str) -> None:
    with pytest.raises(UnsupportedGame, match="expression"):
        read_expression(expression)


@pytest.mark.parametrize(
    "expression", ["r.name or r.id", "r.indefinite + ' ' + r.name", " r", "'a' and r.type", "''"]
)
def test_an_expression_means_what_it_means_in_python(expression: str) -> None:
    entity = Entity("desk 1", "desk_bar_1", "receptacle")

    assert evaluate(read_expression(expression), {"r": entity}) == str(_ask_python(expression, entity))


def _ask_python(expression: str, entity: Entity) -> object:
    class Named:
        name, id, type, definite, indefinite = entity

        def __str__(self) -> str:
            return self.name

    return eval(expression, {"r": Named()})


def test_code_in_a_game_is_not_run(
    write_game: WriteGame, shipped: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "{__import__('pathlib').Path('owned').touch()}"
    game = write_game(grammar=shipped["grammar"].replace("You close the {r.name}.", code))

    with pytest.raises(UnsupportedGame, match="Call in the expression"):
        CompiledGame.load(game, tmp_path / "cache")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("old", "new", "construct"),
    [
        ("You close the {r.name}.", "#a#", "none of whose rules always applies"),
        ("You close the {r.name}.", "{nobody.name}", "nobody, which nothing binds"),
        ("You close the {r.name}.", "{r.name | near(r:planet)}", "the type 'planet'"),
        ("You close the {r.name}.", "{r.name | r:receptacle}", "the query"),
        ("You close the {r.name}.", "#CloseObject.feedback#", "expands to itself"),
        (
            'template :: "close {r}"',
            'template :: "close {o.name | inreceptacle(o:object, r:receptacle)}"',
            "depend on",
        ),
        ("action CloseObject {", "action ShutObject {", "'closeobject', for which its grammar has no text"),
    ],
)
def test_what_is_not_supported_is_named(
    write_game: WriteGame, shipped: dict[str, str], tmp_path: Path, old: str, new: str, construct: str
) -> None:
    assert old in shipped["grammar"]
    game = write_game(grammar=shipped["grammar"].replace(old, new))

    with pytest.raises(UnsupportedGame) as refusal:
        CompiledGame.load(game, tmp_path / "cache")
    assert construct in refusal.value.construct
    assert str(game) in str(refusal.value)


def test_a_grammar_that_explodes_is_refused(
    write_game: WriteGame, shipped: dict[str, str], tmp_path: Path
) -> None:
    bomb = ",".join(f'"b{i}": [{{"rhs": "#b{i + 1}##b{i + 1}#"}}]' for i in range(30))
    grammar = (
        shipped["grammar"]
        .replace("You close the {r.name}.", "#b0#")
        .replace('"notImplemented"', bomb + ', "b30": [{"rhs": "ha"}], "notImplemented"')
    )

    with pytest.raises(UnsupportedGame, match="expands to more than"):
        CompiledGame.load(write_game(grammar=grammar), tmp_path / "cache")


def test_a_query_without_end_is_refused(
    write_game: WriteGame, shipped: dict[str, str], tmp_path: Path
) -> None:
    query = " & ".join(f"receptacletype(r{i}:receptacle, t{i}:rtype)" for i in range(12))
    grammar = shipped["grammar"].replace("You close the {r.name}.", f"{{r.name | {query}}}")

    with pytest.raises(UnsupportedGame, match="combinations"):
        CompiledGame.load(write_game(grammar=grammar), tmp_path / "cache")


@pytest.fixture
def endless(write_game: WriteGame, shipped: dict[str, str]) -> Path:
    """A game whose grounding has about 6^12 operators."""
    names = [f"?x{i}" for i in range(12)]
    facts = " ".join(f"(checked {name})" for name in names)
    explosion = f"(:action help :parameters ({' '.join(f'{n} - receptacle' for n in names)})"
    domain = shipped["pddl_domain"].replace(
        "(:action help", f"{explosion} :precondition () :effect (and {facts}))\n(:action help2", 1
    )
    return write_game("train/endless/trial/game.tw-pddl", pddl_domain=domain)


@pytest.mark.parametrize("limits", [Limits(seconds=2.0), Limits(bytes=48 * 2**20)], ids=["time", "memory"])
def test_grounding_without_end_is_stopped(
    endless: Path, kitchen: Path, tmp_path: Path, limits: Limits
) -> None:
    with pytest.raises(UnsupportedGame, match=r"takes more than .* to ground") as refusal:
        open_program(endless, tmp_path / "cache", limits)

    assert refusal.value.construct == limits.construct
    assert str(endless) in str(refusal.value)
    assert not (tmp_path / "cache").exists()
    assert "hot apple" in CompiledGame.load(kitchen, tmp_path / "cache").intro


def test_games_are_compiled_beside_one_without_end(
    endless: Path, write_game: WriteGame, shipped: dict[str, str], tmp_path: Path
) -> None:
    good = []
    for number in range(16):
        grammar = shipped["grammar"].replace("put a hot apple in fridge", f"task {number % 2}")
        good.append(write_game(f"train/good-{number}/trial/game.tw-pddl", grammar=grammar))
    limits = Limits(seconds=15.0)  # the good ones take one second, on two busy slow cores five

    assert compile_ahead([good[0], endless, *good[1:]], tmp_path / "cache", limits=limits) == {
        endless: limits.construct
    }
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("pddl_problem", "(define (problem x", "cannot be translated"),
        ("pddl_problem", "(" * 5000, "PDDL"),
        ("pddl_domain", "", "cannot be translated"),
        ("grammar", "action {", "grammar cannot be read"),
        ("grammar", 7, "expected the text 'grammar'"),
        ("walkthrough", [1], "list of commands"),
    ],
)
def test_a_malformed_part_is_named(
    write_game: WriteGame, tmp_path: Path, part: str, value: object, message: str
) -> None:
    game = write_game(**{part: value})

    with pytest.raises(GameError, match=message) as error:
        CompiledGame.load(game, tmp_path / "cache")
    assert str(game) in str(error.value)


def test_a_torn_or_missing_file_is_named(kitchen: Path, tmp_path: Path) -> None:
    kitchen.write_text(kitchen.read_text()[:1000])
    with pytest.raises(GameError, match="not a complete JSON file"):
        read_game(kitchen)
    kitchen.write_text('{"a": 1}')
    with pytest.raises(GameError, match="'pddl_domain'"):
        read_game(kitchen)
    with pytest.raises(GameError, match="there is no game"):
        CompiledGame.load(tmp_path / "game.tw-pddl", tmp_path / "cache")


@pytest.mark.parametrize(
    "game",
    ["../secret/game.tw-pddl", "/etc/passwd", "train/../../x/game.tw-pddl", "train", "link/game.tw-pddl"],
)
def test_a_path_stays_inside_the_games(kitchen: Path, tmp_path: Path, game: str) -> None:
    games = tmp_path / "games"
    (games / "link").symlink_to("/etc")

    with pytest.raises(GameError, match="not the path of a game"):
        locate(games, game)
