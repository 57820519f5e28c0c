"""The command `alfworld-compiled`: play a game, compile games, compare and time the engines."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

from alfworld_compiled.cache import default_cache
from alfworld_compiled.compiling import compile_ahead
from alfworld_compiled.engine import CompiledGame
from alfworld_compiled.games import GameError, find_games
from alfworld_compiled.play import STEP_LIMIT, Play

_OK, _DIFFERS, _WRONG = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the status is 1 if the engines differ or a game is refused, 2 for wrong use."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except GameError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return _WRONG
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="alfworld-compiled", description="ALFWorld's text games, compiled: fast, and forkable."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    play = commands.add_parser("play", help="play a game at the keyboard")
    play.add_argument("game", type=Path, metavar="GAME", help="a game.tw-pddl file")
    play.add_argument("--step-limit", type=int, default=STEP_LIMIT, help=f"steps at most ({STEP_LIMIT})")
    play.set_defaults(run=_play)

    compile_ = commands.add_parser("compile", help="compile games before their first use, on all cores")
    compile_.add_argument("games", type=Path, nargs="+", metavar="GAMES", help="game files or folders")
    compile_.set_defaults(run=_compile)

    for command in (play, compile_):
        command.add_argument("--cache", type=Path, help=f"folder of compiled games ({default_cache()})")

    bench = commands.add_parser(
        "bench", help="compare the compiled engine with the stock one, text for text, and time both"
    )
    bench.add_argument(
        "--games",
        type=Path,
        required=True,
        help="folder with train/, valid_seen/, valid_unseen/ (alfworld-download downloads json_2.1.1)",
    )
    bench.add_argument("--limit", type=int, help="how many games, drawn by the seed; default: all")
    bench.add_argument("--minutes", type=float, help="start no new game after this time")
    bench.add_argument("--seed", type=int, default=0, help="draws the games and the walks (0)")
    bench.add_argument("--json", action="store_true", help="print JSON instead of a table")
    bench.add_argument("--out", type=Path, help="also write JSON to this file, with the command and the day")
    bench.set_defaults(run=_bench)
    return parser


def _play(options: argparse.Namespace) -> int:
    game = CompiledGame.load(options.game, options.cache)
    play = Play(options.game, game.start(), options.step_limit)
    print(play.observation)
    print("\n(? lists the admissible commands; end with Ctrl-D)")
    while not play.done:
        try:
            command = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return _OK
        if command.strip() == "?":
            print("\n".join(play.info()["admissible_commands"]))
        else:
            print(play.step(command))
    print("You have done it." if play.won else f"The limit of {options.step_limit} steps is reached.")
    return _OK


def _compile(options: argparse.Namespace) -> int:
    games, cache = find_games(options.games), options.cache or default_cache()
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        _show("compiled", done, len(games))

    refused = compile_ahead(games, cache, advance)
    print(f"{len(games) - len(refused)} games are compiled in {cache}")
    for game, construct in refused.items():
        print(f"refused {game}: {construct}")
    return _DIFFERS if refused else _OK


def _bench(options: argparse.Namespace) -> int:
    from alfworld_compiled.bench.engines import run

    report = run(options.games, options.limit, options.seed, _shown("compared"), options.minutes)
    found = report.to_json()
    if options.out is not None:
        content = {"command": shlex.join(["alfworld-compiled", *sys.argv[1:]]), "date": f"{date.today()}"}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({**content, "report": found}, indent=2, ensure_ascii=False) + "\n")
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else report.render())
    return _DIFFERS if report.differences or not report.throughput.same_episodes else _OK


def _shown(what: str) -> Callable[[int, int], None]:
    return lambda done, total: _show(what, done, total)


def _show(what: str, done: int, total: int) -> None:
    """A line on the terminal that counts, and is removed at the end."""
    if sys.stderr.isatty():
        line = f"{what} {done} of {total} games"
        end = f"\r{' ' * len(line)}\r" if done == total else ""
        print(f"\r{line}{end}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
