"""Compiling a game in another process with limits on time and memory."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn, Self

from alfworld_compiled import compile_child
from alfworld_compiled.compile_child import Answer, Request
from alfworld_compiled.games import GameError
from alfworld_compiled.limits import Limits
from alfworld_compiled.refusal import UnsupportedGame

_END_S = 5.0


class CompileProcess:
    """A process that compiles one game after another. It starts with the first game, and again after it
    ended.

    It keeps the libraries that compiling needs, so that the next game does not wait for them. Only one thread
    may use it at a time.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The running process, if there is one."""
        return None if self._process is None else self._process.pid

    def compile(self, game: Path, cache: Path, limits: Limits) -> None:
        """Compile `game` into the folder `cache`.

        Raises:
            UnsupportedGame: the compiler refuses it, or it takes more than `limits`.
            GameError: it is missing or malformed, or the cache cannot be written.
        """
        try:
            line = self._ask(Request(game.absolute(), cache.absolute(), limits))
        except BaseException:
            # After an interrupt, a late answer must not be read as the answer to the next request.
            self.close()
            raise
        if not line:
            self._explain_end(game, limits)
        answer = Answer.from_line(line)
        if answer.last:
            self.close()
        if answer.construct is not None:
            raise UnsupportedGame(answer.construct, game)
        if answer.error is not None:
            raise GameError(answer.error)

    def close(self) -> None:
        """End the process. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            _close_pipes(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: Request) -> bytes:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = _start()
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(request.to_line())
            self._process.stdin.flush()
        return self._process.stdout.readline()

    def _explain_end(self, game: Path, limits: Limits) -> NoReturn:
        process, self._process = self._process, None
        assert process is not None
        status = process.wait(_END_S)
        _close_pipes(process)
        if status == -signal.SIGXCPU:
            raise UnsupportedGame(limits.construct, game)
        if status < 0:
            raise UnsupportedGame(
                f"a game whose compiling ends its process by {signal.Signals(-status).name}", game
            )
        raise GameError(
            f"{game}: the process that compiles games ended with status {status} before it answered; its "
            "standard error says why"
        )


def _start() -> subprocess.Popen[bytes]:
    # With this process's module path, and without the working folder.
    path = os.pathsep.join(entry for entry in sys.path if entry)
    own = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {compile_child.__name__} import main; main()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path if own in sys.path else f"{path}{os.pathsep}{own}"},
    )


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


_idle: list[CompileProcess] = []
"""At most one, kept for the next game."""


@contextmanager
def warm_process() -> Iterator[CompileProcess]:
    """The process that compiled the last game, if it is free, or another one."""
    try:
        process = _idle.pop()
    except IndexError:
        process = CompileProcess()
    try:
        yield process
    finally:
        if _idle:
            process.close()
        else:
            _idle.append(process)


def _close_idle() -> None:
    while _idle:
        _idle.pop().close()


atexit.register(_close_idle)
# Otherwise a forked process would read the answers for its parent.
os.register_at_fork(after_in_child=_idle.clear)
