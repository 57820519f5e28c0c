"""The process that compiles games: its requests and answers.

A request is a line of JSON on standard input, an answer is one on standard output. A compiled game is written
to the cache, and never sent over the pipe.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from alfworld_compiled.cache import place_of, write_program
from alfworld_compiled.compiler import compile_game
from alfworld_compiled.games import GameError, read_game
from alfworld_compiled.limits import Limits, limit_this_process
from alfworld_compiled.refusal import UnsupportedGame


@dataclass(frozen=True, slots=True)
class Request:
    """Compile the file `game` into the folder `cache`, within `limits`."""

    game: Path
    cache: Path
    limits: Limits

    def to_line(self) -> bytes:
        content = {"game": str(self.game), "cache": str(self.cache), "limits": asdict(self.limits)}
        return json.dumps(content).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Request:
        content = json.loads(line)
        return cls(Path(content["game"]), Path(content["cache"]), Limits(**content["limits"]))


@dataclass(frozen=True, slots=True)
class Answer:
    """The result. `construct`: the construct that the compiler refuses; `error`: why the game cannot be
    compiled."""

    construct: str | None = None
    error: str | None = None
    last: bool = False
    """Whether the process ends after this answer, because its memory limit was reached."""

    def to_line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Answer:
        return cls(**json.loads(line))


def main() -> None:
    """Answer requests until standard input ends, or a game needed more memory than its limit."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    # The output of libraries must not mix with the answers.
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        request = Request.from_line(line)
        try:
            answer = _answer(request)
        except MemoryError:
            answers.write(Answer(construct=request.limits.construct, last=True).to_line())
            answers.flush()
            return
        answers.write(answer.to_line())
        answers.flush()


def _answer(request: Request) -> Answer:
    limit_this_process(request.limits)
    try:
        program = compile_game(read_game(request.game))
        write_program(place_of(request.game, request.cache), program)
    except UnsupportedGame as error:
        return Answer(construct=error.construct)
    except GameError as error:
        return Answer(error=str(error))
    return Answer()
