"""Expected errors: one clear message on stderr and an exit code, no traceback."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, ParamSpec

import typer

from sand_dagster.home import sand_home

_Params = ParamSpec("_Params")

FAILED, WRONG_USE = 1, 2
"""Exit codes: the request failed or its data are not there yet; there is no such thing."""

_KEPT = "Each file that was written is whole; give the command again to do all of it."

_LITTLE = 1 << 20
"""Bytes: SQLite needs some for its own files, and reports a failed disk if it does not get them."""


def fail(message: str, code: int = FAILED) -> NoReturn:
    """End the command with `message` on stderr."""
    typer.echo(f"sand: {message}", err=True)
    raise typer.Exit(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM: the command ends as by Ctrl-C."""


def command(function: Callable[_Params, None]) -> Callable[_Params, None]:
    """A command that prints expected errors as a message. An unexpected error keeps its traceback."""
    return command_that_keeps(_KEPT)(function)


def command_that_keeps(
    kept: str,
) -> Callable[[Callable[_Params, None]], Callable[_Params, None]]:
    """As `command`; `kept` says what an interrupt leaves, and what to do then."""

    def decorate(function: Callable[_Params, None]) -> Callable[_Params, None]:
        @functools.wraps(function)
        def run(*args: _Params.args, **kwargs: _Params.kwargs) -> None:
            try:
                with _sigterm_raises():
                    _check_home()
                    function(*args, **kwargs)
            except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
                raise
            except KeyboardInterrupt as interrupt:
                number = signal.SIGTERM if isinstance(interrupt, _Terminated) else signal.SIGINT
                fail(f"interrupted by {number.name}. {kept}", 128 + number)
            except Exception as error:
                expected = _expected(error)
                if expected is None:
                    raise
                fail(*expected)

        return run

    return decorate


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise `_Terminated`, unless something else handles it. Only a main thread gets signals."""

    def terminate(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _check_home() -> None:
    home = sand_home()
    if not os.path.lexists(home):
        return
    if not home.is_dir():
        fail(f"$SAND_HOME is {home}, which is not a folder. Set it to a folder, or move that file away")
    if not os.access(home, os.R_OK | os.X_OK):
        fail(
            f"$SAND_HOME is {home}, which user {os.getuid()} may not read. Give that user the "
            "permission, or set it to another folder"
        )


def _expected(error: Exception) -> tuple[str, int] | None:
    """The message and the exit code of an expected error; None: it was not expected."""
    from sand_dagster.artifacts.lineage import LineageError
    from sand_dagster.errors import ArtifactError, SettingError, explain_os_error
    from sand_dagster.experiments.loading import ExperimentError

    if isinstance(error, ExperimentError | LineageError | SettingError):
        return str(error), WRONG_USE
    if isinstance(error, ArtifactError):
        return str(error), FAILED
    if isinstance(error, OSError):
        return explain_os_error(error), FAILED
    if _is(error, "duckdb", "Error") or _is(error, "polars.exceptions", "PolarsError"):
        return f"a table cannot be read: {error}\n`sand verify` lists the damaged files", FAILED
    if _is(error, "sqlalchemy.exc", "DBAPIError"):
        return database_problem(error), FAILED
    if _is(error, "dagster_postgres.utils", "DagsterPostgresException"):
        return database_problem(error.__cause__ or error), FAILED
    return None


def database_problem(error: BaseException) -> str:
    """What is wrong with Dagster's own record, and what to do."""
    folder = sand_home() / "dagster"
    cause = getattr(error, "orig", error)
    reason = str(cause)
    if type(cause).__module__.startswith("psycopg2"):
        return (
            f"Dagster's record is in the database that SAND_POSTGRES_URL names, and it failed "
            f"({' '.join(reason.split())}). See whether its server runs (docs/team.md), and give the command "
            "again: what was finished is kept"
        )
    if "full" in reason or ("disk I/O" in reason and shutil.disk_usage(folder).free < _LITTLE):
        return f"no space left on the disk for Dagster's record in {folder}. Free some space and try again"
    if "disk I/O" in reason:
        return (
            f"the disk failed on Dagster's record in {folder} ({reason}). Check the disk, its space and its "
            "limits; then try again"
        )
    if "readonly" in reason or "unable to open" in reason:
        return f"Dagster's record in {folder} cannot be written ({reason}). Make it writable, and try again"
    if "locked" in reason:
        return f"Dagster's record in {folder} is in use by another process ({reason}). Try again"
    return (
        f"Dagster's record in {folder} is damaged ({reason}). Move it away (mv {folder} {folder}.damaged): "
        "`sand run` then makes a new one; finished units are taken from the journals"
    )


def _is(error: Exception, module: str, name: str) -> bool:
    """Whether `error` is of a library's class, without importing the library."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(error, kind)
